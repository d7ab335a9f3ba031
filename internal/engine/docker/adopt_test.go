package docker

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// foreignContainer is one that docker compose made, on two networks, with a volume of its own, one that
// nobody named at the ledger and one at the configuration that its image brings.
func foreignContainer() container.InspectResponse {
	ledger, config := strings.Repeat("1", 64), strings.Repeat("2", 64)
	return container.InspectResponse{
		ID: strings.Repeat("c", 64), Name: "/orderer.example.com", Image: "sha256:" + strings.Repeat("a", 64),
		State: &container.State{Status: container.StateRunning},
		Config: &container.Config{
			Hostname: strings.Repeat("c", 12), User: "0:0", Image: "hyperledger/fabric-orderer:2.5.9",
			Env: []string{"ORDERER_GENERAL_LOCALMSPID=OrdererMSP", "FABRIC_VER=2.5.9"}, Cmd: []string{"orderer"},
			Labels: map[string]string{"com.docker.compose.service": "orderer.example.com", "of": "the image"},
		},
		HostConfig: &container.HostConfig{
			NetworkMode: "fabric_test", Binds: []string{"/crypto/msp:/var/hyperledger/orderer/msp", "orderer:/var/hyperledger/production/orderer"},
		},
		Mounts: []container.MountPoint{
			{Type: mount.TypeBind, Source: "/crypto/msp", Destination: "/var/hyperledger/orderer/msp"},
			{Type: mount.TypeVolume, Name: "orderer", Destination: "/var/hyperledger/production/orderer"},
			{Type: mount.TypeVolume, Name: ledger, Destination: "/var/hyperledger"},
			{Type: mount.TypeVolume, Name: config, Destination: "/etc/hyperledger/fabric"},
		},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			"fabric_test": {Aliases: []string{"orderer.example.com", strings.Repeat("c", 12)}}, "monitoring": {Aliases: []string{"orderer"}},
		}},
	}
}

func TestRemadeKeepsEverythingElse(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/sha256:"+strings.Repeat("a", 64)+"/json", gives(fields{"Id": "sha256:" + strings.Repeat("a", 64), "Config": fields{
		"Env": []string{"FABRIC_VER=2.5.9"}, "Labels": fields{"of": "the image"}, "Cmd": []string{"orderer", "start"},
	}}))
	e := d.engine(t, Options{})
	old := foreignContainer()
	options, others, err := e.remade(t.Context(), old, engine.Change{Image: "hyperledger/fabric-orderer:3.1.1", Renew: "/etc/hyperledger/fabric"})
	if err != nil {
		t.Fatal(err)
	}
	config, host := options.Config, options.HostConfig
	if config.Image != "hyperledger/fabric-orderer:3.1.1" || config.User != "0:0" || config.Hostname != "" || !slices.Equal(config.Cmd, []string{"orderer"}) {
		t.Errorf("configuration is %+v", config)
	}
	if !slices.Equal(config.Env, []string{"ORDERER_GENERAL_LOCALMSPID=OrdererMSP"}) || len(config.Labels) != 1 {
		t.Errorf("what the image brings was kept: %v, %v", config.Env, config.Labels)
	}
	want := append(slices.Clone(old.HostConfig.Binds), strings.Repeat("1", 64)+":/var/hyperledger")
	if !slices.Equal(host.Binds, want) {
		t.Errorf("mounts are %v, want %v", host.Binds, want)
	}
	if host.ReadonlyRootfs || len(host.CapDrop) > 0 || len(host.SecurityOpt) > 0 {
		t.Error("it was hardened")
	}
	if first := options.NetworkingConfig.EndpointsConfig["fabric_test"]; first == nil || !slices.Equal(first.Aliases, []string{"orderer.example.com"}) {
		t.Errorf("aliases are %+v", first)
	}
	if other := others["monitoring"]; len(others) != 1 || other == nil || !slices.Equal(other.Aliases, []string{"orderer"}) {
		t.Errorf("further networks are %v", others)
	}
	// Made once more, a volume that nobody named is known by its bind alone.
	old.HostConfig.Binds = host.Binds
	if options, _, err = e.remade(t.Context(), old, engine.Change{Image: "x"}); err != nil || len(options.HostConfig.Binds) != 4 {
		t.Errorf("the second change mounts %v, %v", options.HostConfig.Binds, err)
	}
}

func TestRemadeLimits(t *testing.T) {
	d := newDaemon(t)
	d.on("GET /images/sha256:"+strings.Repeat("a", 64)+"/json", gives(fields{"Id": "sha256:" + strings.Repeat("a", 64)}))
	e := d.engine(t, Options{})
	old := foreignContainer()
	old.HostConfig.Memory, old.HostConfig.MemorySwap = 1<<30, -1
	same := engine.Change{Image: "x", Limits: engine.Limits{MemoryBytes: 1 << 30}}
	options, _, err := e.remade(t.Context(), old, same)
	if err != nil || options.HostConfig.MemorySwap != -1 {
		t.Errorf("limits that stay were touched: %d, %v", options.HostConfig.MemorySwap, err)
	}
	same.Limits = engine.Limits{CPUs: 1.5}
	options, _, err = e.remade(t.Context(), old, same)
	if err != nil || options.HostConfig.Memory != 0 || options.HostConfig.NanoCPUs != 1_500_000_000 || old.HostConfig.Memory != 1<<30 {
		t.Errorf("limits are %d, %d, %v", options.HostConfig.Memory, options.HostConfig.NanoCPUs, err)
	}
}
