//go:build linux

package kill

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/test/fault"
)

// silentNetwork is the name of the network of TestAccSilence.
const silentNetwork = "acc-silence"

const (
	// silenceLimit is the resources' own limit, in their timeouts.
	silenceLimit = 25 * time.Second
	// silenceGrace is what a command takes beside that: reading what is, and one look at a node that is
	// given ten seconds to answer.
	silenceGrace = 30 * time.Second
)

// TestAccSilence has the engine, a CA, an ordering node or a peer accept what is said and never answer.
// The resource ends with its timeouts, with an error that names who is silent; when the silence is
// over, one apply converges.
func TestAccSilence(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 makes a network on a Docker engine")
	}
	t.Parallel()
	s := newFaulting(t, silentNetwork, 1)
	limited := []string{"limit=" + silenceLimit.String()}
	for _, tc := range []struct {
		side fault.Side
		kind fault.Kind
		// during is the change; whom the error must name.
		during []string
		whom   string
	}{
		{fault.Participation, fault.Silence, nil, `orderer0`},
		{fault.CA, fault.Silence, []string{`more_peers={"peer1.org1"="org1"}`}, `ca\.org1`},
		{fault.Orderer, fault.Silence, []string{"batch_timeout=1s"}, `orderer0`},
		{fault.Peer, fault.Silence, []string{"chaincode=2.0"}, `peer0\.org[12]`},
		{fault.Engine, fault.Silence, []string{`more_peers={"peer1.org1"="org1"}`}, `engine\.sock`},
		{fault.Engine, fault.Hang, []string{`more_peers={"peer1.org1"="org1"}`}, `peer1\.org1`},
	} {
		t.Run(string(tc.side)+": "+string(tc.kind), func(t *testing.T) {
			w := s.in(t)
			variables := slices.Concat(limited, tc.during)
			s.arm(t, fault.Fault{Side: tc.side, Kind: tc.kind, Call: 1})
			r := w.start(apply(variables...)...)
			status := r.wait()
			ended := time.Now()
			report := s.arm(t, fault.Fault{})
			text := r.tail()
			if report.Struck == "" || status == 0 {
				t.Fatalf("nobody was silent (%q), or it made no difference: it ended with %d", report.Struck, status)
			}
			took := ended.Sub(report.At)
			t.Logf("%s; it ended %s after that", report.Struck, took.Round(time.Millisecond))
			if took > silenceLimit+silenceGrace {
				t.Errorf("it ended %s after the silence began:\n%s", took.Round(time.Millisecond), text)
			}
			if !regexp.MustCompile(`Error: [^\0]*` + tc.whom).MatchString(text) {
				t.Errorf("the error does not name %s:\n%s", tc.whom, text)
			}
			w.awaitNoProvider(orphanTime)
			again := w.mustRun(apply(variables...)...)
			t.Logf("the next apply took %s", again.took.Round(time.Millisecond))
			w.unchanged(variables...)
			if len(tc.during) > 0 { // back, for the next one
				w.mustRun(apply(limited...)...)
			}
		})
	}
	s.destroy(s.in(t))
}
