package network

import (
	"errors"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// TestStartChoosesPortsAgain: between the choice of a port and the start of the node, another process
// may have taken it.
func TestStartChoosesPortsAgain(t *testing.T) {
	r := newRig(t)
	r.must(r.fabric.preflight(t.Context(), r.node()))
	chosen := r.fabric.seen.seen[r.peer().Object()].ports
	for _, p := range chosen {
		r.fake.TakePort(p.Address, p.Host)
	}
	state, err := r.fabric.ensure(t.Context(), r.node())
	r.must(err)
	r.converged(engine.Running, false, "key 1")
	for purpose, port := range state.HostPorts {
		for _, p := range chosen {
			if p.Host == port {
				t.Errorf("%s is at port %d, which is taken", purpose, port)
			}
		}
	}
}

// TestStartKeepsGivenPorts: a port that somebody asked for is not exchanged for another one.
func TestStartKeepsGivenPorts(t *testing.T) {
	r := newRig(t)
	wanted := func(n *node) { n.options.HostPorts["grpc"] = 16400 }
	r.must(r.fabric.preflight(t.Context(), r.node(wanted)))
	r.fake.TakePort("127.0.0.1", 16400)
	_, err := r.fabric.ensure(t.Context(), r.node(wanted))
	taken := new(engine.PortError)
	if !errors.As(err, &taken) || taken.Port != 16400 {
		t.Errorf("the error is %v", err)
	}
}

// TestStartGivesUp: an engine on which every port is taken at the last moment.
func TestStartGivesUp(t *testing.T) {
	r := newRig(t)
	starts := 0
	r.fake.Intercept(func(c enginetest.Call) error {
		if c.Method != "StartNode" {
			return nil
		}
		starts++
		return &engine.PortError{Node: c.Name, Address: "127.0.0.1", Port: r.portOf()}
	})
	_, err := r.fabric.ensure(t.Context(), r.node())
	if !errors.Is(err, engine.ErrPortTaken) || starts != portChoices {
		t.Errorf("after %d starts the error is %v", starts, err)
	}
}

// portOf gives the port that was last reserved for the peer.
func (r *rig) portOf() int {
	r.fabric.ports.mu.Lock()
	defer r.fabric.ports.mu.Unlock()
	return r.fabric.ports.reserved[len(r.fabric.ports.reserved)-1].port.Host
}

// TestRefusedSpecificationCostsNoNode: what the engine does not take is found while the old container
// is there and runs.
func TestRefusedSpecificationCostsNoNode(t *testing.T) {
	r := newRig(t)
	r.make()
	before, err := r.fake.Node(t.Context(), r.peer().Object())
	r.must(err)
	_, err = r.fabric.ensure(t.Context(), r.node(existing, func(n *node) {
		n.options.Log = engine.Log{Driver: "json-file", Options: map[string]string{enginetest.UnknownLogOption: "1"}}
	}))
	if err == nil || !strings.Contains(err.Error(), enginetest.UnknownLogOption) || !strings.Contains(err.Error(), "goes on as it is") {
		t.Errorf("the error is %v", err)
	}
	after, err := r.fake.Node(t.Context(), r.peer().Object())
	r.must(err)
	if after.ID != before.ID || after.Status != engine.Running {
		t.Errorf("the container is %+v, was %+v", after, before)
	}
}
