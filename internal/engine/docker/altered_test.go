package docker

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

func TestAlterations(t *testing.T) {
	made, err := render(engine.NodeSpec{
		Name: "node", Hostname: "node.example.com", Aliases: []string{"also"}, Image: "image", Network: "net", User: "1000:1000", Restart: true,
		Limits: engine.Limits{MemoryBytes: 64 << 20, CPUs: 0.5},
		Labels: map[string]string{engine.LabelOwner: "me"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		alter func(*container.InspectResponse)
		says  []string
	}{
		{what: "as it was made", alter: func(*container.InspectResponse) {}},
		{what: "limits that the engine cannot enforce", alter: func(c *container.InspectResponse) { c.HostConfig.Memory, c.HostConfig.NanoCPUs = 0, 0 }},
		{what: "an engine's own default", alter: func(c *container.InspectResponse) { c.HostConfig.ShmSize = 64 << 20 }},
		{what: "off its network", alter: func(c *container.InspectResponse) { c.NetworkSettings.Networks = nil }},
		{what: "somebody else's", alter: func(c *container.InspectResponse) { c.Config.Labels, c.HostConfig.Memory = nil, 1 }},
		{
			what: "limits", says: []string{"memory in bytes is 1 and was 67108864", "of a processor is 2 and was 500000000", "processes is 7 and was 0"},
			alter: func(c *container.InspectResponse) {
				pids := int64(7)
				c.HostConfig.Memory, c.HostConfig.NanoCPUs, c.HostConfig.PidsLimit = 1, 2, &pids
			},
		},
		{
			what: "restart policy", says: []string{`is "always" and was "unless-stopped"`},
			alter: func(c *container.InspectResponse) { c.HostConfig.RestartPolicy.Name = container.RestartPolicyAlways },
		},
		{
			what: "names", says: []string{"lost its name also on network net"},
			alter: func(c *container.InspectResponse) {
				c.NetworkSettings.Networks["net"] = &network.EndpointSettings{Aliases: []string{"node.example.com", "0123456789ab"}}
			},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			host := *made.HostConfig
			have := container.InspectResponse{Config: &container.Config{Labels: made.Config.Labels}, HostConfig: &host}
			have.NetworkSettings = &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"net": made.NetworkingConfig.EndpointsConfig["net"]}}
			c.alter(&have)
			got := alterations(have)
			if len(got) != len(c.says) {
				t.Fatalf("altered are %q", got)
			}
			for _, text := range c.says {
				if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, text) }) {
					t.Errorf("altered are %q, want %q", got, text)
				}
			}
		})
	}
	if labels := nodeLabels(made.Config.Labels); len(labels) != 1 || labels[engine.LabelOwner] != "me" {
		t.Errorf("the labels of the node are %v", labels)
	}
}
