package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// labelMade holds how a container was made, as far as an engine lets people change that afterwards
// (docker update, docker network connect). It is no label of the node.
const labelMade = engine.LabelPrefix + "made"

// made is what labelMade holds, as JSON.
type made struct {
	Memory  int64                       `json:"memory,omitempty"`
	PIDs    int64                       `json:"pids,omitempty"`
	CPUs    int64                       `json:"nano_cpus,omitempty"`
	Restart container.RestartPolicyMode `json:"restart,omitempty"`
	Network string                      `json:"network,omitempty"`
	Aliases []string                    `json:"aliases,omitempty"`
}

func madeOf(options client.ContainerCreateOptions) made {
	host := options.HostConfig
	m := made{Memory: host.Memory, PIDs: orZero(host.PidsLimit), CPUs: host.NanoCPUs, Restart: host.RestartPolicy.Name}
	if options.NetworkingConfig != nil {
		for name, endpoint := range options.NetworkingConfig.EndpointsConfig {
			m.Network, m.Aliases = name, endpoint.Aliases
		}
	}
	return m
}

// label gives labelMade. What it holds marshals: it is text and numbers.
func (m made) label() string {
	raw, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return string(raw)
}

// nodeLabels are the labels that a container has as a node.
func nodeLabels(labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	delete(out, labelMade)
	return out
}

// alterations tells what a container has otherwise than it was made, in words. One of somebody else
// has no such label, and is as it is.
func alterations(c container.InspectResponse) []string {
	var m made
	if json.Unmarshal([]byte(c.Config.Labels[labelMade]), &m) != nil {
		return nil
	}
	var out []string
	host := c.HostConfig
	limit := func(what string, wanted, has int64) {
		// An engine that cannot enforce a limit drops it, and has none; one that can never takes a
		// limit away, but sets another one.
		if has != wanted && has != 0 {
			out = append(out, fmt.Sprintf("its limit of %s is %d and was %d", what, has, wanted))
		}
	}
	limit("memory in bytes", m.Memory, host.Memory)
	limit("processor time in billionths of a processor", m.CPUs, host.NanoCPUs)
	if m.CPUs == 0 {
		limit("processor time in microseconds", 0, host.CPUQuota)
	}
	if host.PidsLimit != nil && max(*host.PidsLimit, 0) != m.PIDs {
		out = append(out, fmt.Sprintf("its limit of processes is %d and was %d", *host.PidsLimit, m.PIDs))
	}
	if has := host.RestartPolicy.Name; has != m.Restart {
		out = append(out, fmt.Sprintf("its restart policy is %q and was %q", has, m.Restart))
	}
	if endpoint := c.NetworkSettings.Networks[m.Network]; endpoint != nil {
		for _, name := range m.Aliases {
			if !slices.Contains(endpoint.Aliases, name) {
				out = append(out, fmt.Sprintf("it lost its name %s on network %s", name, m.Network))
			}
		}
	}
	return out
}

func orZero(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
