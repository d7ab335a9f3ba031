//go:build linux

package kill

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/test/fault"
)

// rolledNetwork is the name of the network of TestAccInterruptedRoll.
const rolledNetwork = "acc-interrupted-roll"

// rollPoints is at how many calls TestAccInterruptedRoll interrupts.
const rollPoints = 10

// TestAccInterruptedRoll interrupts Terraform at calls to the engine while nodes are rolled there and back:
// when it has ended, every node runs, in its old container or in its new one.
func TestAccInterruptedRoll(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 makes a network on a Docker engine")
	}
	s := newFaulting(t, rolledNetwork, number(t, "SWEEP_SEED", 1))
	s.build(t)
	ways := s.measure(t, change{forth: "node roll", back: "node roll", variables: []string{"pids=2000"}})
	calls := ways[0].calls.Calls(fault.Engine, fault.Interrupt)
	var struck []string
	for i := range rollPoints {
		call := 1 + i*calls/rollPoints
		d := ways[i%2]
		f := fault.Fault{Side: fault.Engine, Kind: fault.Interrupt, Call: call}
		t.Run(f.String(), func(t *testing.T) {
			w := s.in(t)
			s.arm(t, f)
			r := w.start(d.command()...)
			status := r.wait()
			ended := time.Now()
			report := s.arm(t, fault.Fault{})
			w.awaitNoProvider(orphanTime)
			t.Logf("struck: %q; it ended with %d, %s after that", report.Struck, status, ended.Sub(report.At).Round(time.Millisecond))
			if report.Struck != "" && ended.Sub(report.At) > graceTime {
				t.Errorf("Terraform ended %s after the interrupt", ended.Sub(report.At).Round(time.Millisecond))
			}
			struck = append(struck, report.Struck)
			s.allRun(t)
			if t.Failed() {
				t.Logf("the command that was interrupted:\n%s", r.tail())
			}
			w.mustRun(d.command()...)
			w.unchanged(d.variables...)
			s.check(w)
		})
	}
	if !slices.ContainsFunc(struck, func(call string) bool { return strings.HasSuffix(call, "/stop") }) {
		t.Errorf("no node was being stopped: %q", struck)
	}
	s.destroy(s.in(t))
}

// allRun checks that every ordering node and peer of the network runs.
func (s *faulting) allRun(t *testing.T) {
	t.Helper()
	running := 0
	for _, kind := range []string{"orderer", "peer"} {
		list, err := s.host.api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: make(client.Filters).
			Add("label", engine.LabelNetwork+"="+s.network).Add("label", engine.LabelKind+"="+kind)})
		must(t, err)
		for _, c := range list.Items {
			if c.State == "running" {
				running++
			} else {
				t.Errorf("container %s is %s", c.Names[0], c.Status)
			}
		}
	}
	if running != 5 {
		t.Errorf("%d nodes run", running)
	}
}
