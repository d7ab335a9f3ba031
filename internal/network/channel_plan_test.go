package network

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// planned gives what a change of the sketch's channel comes to, as the plan computes it.
func (s *sketch) planned(change func(*ChannelSpec, *ChannelBasis)) (ChannelPlan, error) {
	s.t.Helper()
	s.serveOrderer(s.orderer("orderer0"), &sketchOrderer{genesis: s.genesis, height: 3})
	s.serveOrderer(s.orderer("orderer1"), &sketchOrderer{genesis: s.genesis, height: 2})
	spec := s.channelSpec()
	basis, err := s.fabric.ReadChannelBasis(s.t.Context(), spec)
	s.must(err)
	change(&spec, &basis)
	return PlanChannel(spec, basis)
}

// TestPlanChannel: a change in words, with the policies that it falls under and who is missing, from
// what Read has kept alone.
func TestPlanChannel(t *testing.T) {
	for name, c := range map[string]struct {
		change           func(*ChannelSpec, *ChannelBasis)
		changes, missing []string // patterns, one for each
		err              string
	}{
		"nothing": {change: func(*ChannelSpec, *ChannelBasis) {}},
		"batch": {
			change:  func(s *ChannelSpec, _ *ChannelBasis) { s.Config.Batch.Timeout = time.Second },
			changes: []string{`2s.*1s.*\[/Channel/Orderer/Admins: MAJORITY Admins\]`},
		},
		"an organization joins whose definition is not known": {
			change: func(s *ChannelSpec, _ *ChannelBasis) {
				s.Organizations["Org3MSP"] = ChannelOrganization{Organization: s.Handle.With(KindOrganization, "Org3MSP", "Org3MSP")}
			},
			changes: []string{`organization Org3MSP added \[/Channel/Application/Admins: MAJORITY Admins\]`},
		},
		"an organization goes": {
			change:  func(s *ChannelSpec, _ *ChannelBasis) { delete(s.Organizations, "Org2MSP") },
			changes: []string{`organization Org2MSP removed`},
		},
		"without the admin of the other organization": {
			change: func(s *ChannelSpec, b *ChannelBasis) {
				delete(s.Organizations, "Org2MSP")
				b.Admins = []string{"Org1MSP", "OrdererMSP"}
			},
			changes: []string{`Org2MSP removed`}, missing: []string{`Org2MSP removed falls under .*Org2MSP`},
		},
		"an organization's own anchor peers want its own admin only": {
			change: func(s *ChannelSpec, b *ChannelBasis) {
				o := s.Organizations["Org1MSP"]
				o.AnchorPeers = []string{"peer1.org1"}
				s.Organizations["Org1MSP"] = o
				b.Admins = []string{"Org1MSP"}
			},
			changes: []string{`anchor.*peer1.org1.example.com:7051.*\[/Channel/Application/Org1MSP/Admins`},
		},
		"what an organization manages itself is left alone": {
			change: func(s *ChannelSpec, _ *ChannelBasis) {
				o := s.Organizations["Org1MSP"]
				o.AnchorPeers, o.SelfManaged = []string{"peer1.org1"}, true
				s.Organizations["Org1MSP"] = o
			},
		},
		"capabilities come last, by themselves": {
			change: func(s *ChannelSpec, _ *ChannelBasis) {
				s.Config.ChannelCapability = configtx.ChannelCapabilityV3_0
				s.Config.Batch.MaxMessageCount = 7
			},
			changes: []string{`500.*7`, `V3_0.*\[/Channel/Admins`},
		},
		"a batch beyond the limits": {
			change: func(s *ChannelSpec, _ *ChannelBasis) { s.Config.Batch.AbsoluteMaxBytes = 1 << 30 },
			err:    "batch.absolute_max_bytes",
		},
		"the last organization": {
			change: func(s *ChannelSpec, _ *ChannelBasis) { clear(s.Organizations) },
			err:    "the last one would go",
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := newSketch(t).planned(c.change)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("the error is %v, want one of %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			matchAll(t, "changes", plan.Changes, c.changes)
			matchAll(t, "missing", plan.Missing, c.missing)
		})
	}
}

// matchAll holds texts to patterns, one to one.
func matchAll(t *testing.T, what string, texts, patterns []string) {
	t.Helper()
	if len(texts) != len(patterns) {
		t.Fatalf("%s: %q, want %q", what, texts, patterns)
	}
	for i, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(texts[i]) {
			t.Errorf("%s: %q does not match %q", what, texts[i], pattern)
		}
	}
}
