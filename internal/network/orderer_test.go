package network

import (
	"slices"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// TestOrder: what does not run is started at once, what runs is changed one after the other.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name            string
		atOnce, rolled  []string
		existing        bool
		ports           map[string]int
		stopped, absent []string
	}{
		{name: "new", atOnce: []string{"o0", "o1", "o2"}},
		{name: "running", existing: true, rolled: []string{"o0", "o1", "o2"}},
		{name: "one down", existing: true, stopped: []string{"o1"}, atOnce: []string{"o1"}, rolled: []string{"o0", "o2"}},
		{name: "one gone", existing: true, absent: []string{"o0"}, atOnce: []string{"o0"}, rolled: []string{"o1", "o2"}},
		{name: "all down", existing: true, stopped: []string{"o0", "o1", "o2"}, atOnce: []string{"o0", "o1", "o2"}},
		{name: "a port of its own", existing: true, ports: map[string]int{"o0": 17000, "o1": 17101}, rolled: []string{"o0", "o1", "o2"}},
		{name: "ports handed on", existing: true, ports: map[string]int{"o0": 17001, "o1": 17002, "o2": 17003}, atOnce: []string{"o0", "o1", "o2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			specs := map[string]OrdererSpec{}
			for i, name := range []string{"o0", "o1", "o2"} {
				spec := OrdererSpec{Handle: r.on.With(KindOrderer, name, "OrdererMSP")}
				spec.Existing, spec.HostPorts = c.existing, map[string]int{"grpc": c.ports[name]}
				specs[name] = spec
				if c.existing && !slices.Contains(c.absent, name) {
					status := engine.Running
					if slices.Contains(c.stopped, name) {
						status = engine.Stopped
					}
					r.fake.AddNode(engine.Node{Name: spec.Handle.Object(), Labels: spec.Handle.labels(), Status: status,
						Ports: []engine.Port{{Container: ordererPort, Host: 17000 + i, Address: "127.0.0.1"}}})
				}
			}
			work := &clusterWork{Fabric: r.fabric, spec: ClusterSpec{Nodes: specs}}
			atOnce, rolled, err := work.order(t.Context())
			r.must(err)
			if !slices.Equal(namesOf(atOnce), c.atOnce) || !slices.Equal(namesOf(rolled), c.rolled) {
				t.Errorf("at once %v, then %v; want %v and %v", atOnce, rolled, c.atOnce, c.rolled)
			}
		})
	}
}

// TestFindOrdererCluster finds the nodes of a cluster, those too of which only the volume is left.
func TestFindOrdererCluster(t *testing.T) {
	s := newSketch(t)
	s.removeContainer(s.orderer("orderer1"))
	found, err := s.fabric.FindOrdererCluster(t.Context(), "dev", "raft")
	s.must(err)
	if found.Handle != s.cluster() || len(found.Nodes) != 2 || found.Raft != configtx.DefaultRaftOptions() {
		t.Fatalf("found %+v", found)
	}
	for name, spec := range found.Nodes {
		if spec.Handle != s.orderer(name) || spec.Image != "orderer:3.1.1" || spec.Cluster != "raft" || spec.Version.String() != "3.1.1" {
			t.Errorf("found %s as %+v", name, spec)
		}
	}
}
