package network

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// TestHandOver carries updates from the one who proposes them over those who sign to the one who submits.
func TestHandOver(t *testing.T) {
	s := newSketch(t)
	ledger, orderers := s.serveOrdering()
	ctx := t.Context()
	own := ChannelAccess{Channel: s.channel}
	elsewhere := func(mspID string) ChannelAccess {
		return ChannelAccess{Name: "trade", Orderers: orderers, Organization: s.organization(mspID)}
	}
	s.addOrganization("Org3MSP", sketchOrganization{ca: "ca.org3"})
	change := ChannelChange{SetOrganizations: []msp.Definition{s.definition("Org3MSP")}, Batch: configtx.Batch{MaxMessageCount: 42}}
	expires := time.Now().Add(time.Hour)
	p, err := s.fabric.Propose(ctx, own, change, expires)
	s.must(err)
	said := strings.Join(append(slices.Clone(p.Changes), p.Required...), "\n")
	for _, want := range []string{"batch max_message_count 500 → 42", "organization Org3MSP added", "/Channel/Orderer/Admins", "OrdererMSP admin", "/Channel/Application/Admins", "Org1MSP admin"} {
		if !strings.Contains(said, want) {
			t.Errorf("the proposal does not say %q, but\n%s", want, said)
		}
	}
	update := s.update(p)
	if p.Base != 0 || update.Terms == nil || !update.Terms.Expires.Equal(expires.Truncate(time.Second)) {
		t.Errorf("base %d, terms %v", p.Base, update.Terms)
	}
	examined, err := s.fabric.Examine(ctx, elsewhere("Org1MSP"), update)
	if err != nil || !slices.Equal(examined.Changes, p.Changes) || !slices.Equal(examined.Required, p.Required) {
		t.Errorf("examined elsewhere: %+v, %v", examined, err)
	}

	org1, err := s.fabric.SignProposal(ctx, elsewhere("Org1MSP"), s.organization("Org1MSP"), update)
	s.must(err)
	_, err = s.fabric.SubmitProposal(ctx, own, s.organization("OrdererMSP"), update, map[string][]byte{"org1": org1})
	if unsigned := new(UnsignedError); !errors.As(err, &unsigned) || len(unsigned.Changes) != 1 || !strings.Contains(err.Error(), "Org2MSP admin") {
		t.Errorf("with one signature too few: %v", err)
	}
	org2, err := s.fabric.SignProposal(ctx, elsewhere("Org2MSP"), s.organization("Org2MSP"), update)
	s.must(err)
	// The first attempt is lost with the leader that it was handed to, the answer to the second never arrives.
	s.fabric.orderPatience, ledger.dropped, ledger.lost = 200*time.Millisecond, 1, 1
	done, err := s.fabric.SubmitProposal(ctx, own, s.organization("OrdererMSP"), update, map[string][]byte{"org1": org1, "org2": org2})
	if err != nil || done != (Submitted{Block: 1, Sequence: 1}) {
		t.Fatalf("submitted: %+v, %v", done, err)
	}

	// What is in force stays a success, for others and later too.
	later, err := s.fabric.Propose(ctx, own, ChannelChange{Batch: configtx.Batch{MaxMessageCount: 7}}, expires)
	s.must(err)
	if done, err := s.fabric.SubmitProposal(ctx, own, s.organization("OrdererMSP"), s.update(later), nil); err != nil || done.Sequence != 2 {
		t.Errorf("the next one: %+v, %v", done, err)
	}
	again, err := s.fabric.SubmitProposal(ctx, elsewhere("Org2MSP"), s.organization("Org2MSP"), update, map[string][]byte{"org1": org1})
	if err != nil || again != done {
		t.Errorf("submitted again, elsewhere: %+v, %v", again, err)
	}

	// What does not fit any more is refused, and so is what changes nothing.
	if _, err := s.fabric.Propose(ctx, own, ChannelChange{Batch: configtx.Batch{MaxMessageCount: 7}}, expires); !errors.Is(err, configtx.ErrNoChange) {
		t.Errorf("a change that is there already: %v", err)
	}
	if _, err := s.fabric.SignProposal(ctx, elsewhere("Org1MSP"), s.organization("Org1MSP"), update); !errors.Is(err, configtx.ErrOutdated) {
		t.Errorf("signing what is done: %v", err)
	}
}

// update reads a proposal as it is handed over.
func (s *sketch) update(p Proposal) Update {
	s.t.Helper()
	u, err := ReadUpdate(p.Update)
	s.must(err)
	return u
}

func TestProposalsAreRefused(t *testing.T) {
	s := newSketch(t)
	_, orderers := s.serveOrdering()
	ctx := t.Context()
	own := ChannelAccess{Channel: s.channel}
	org1 := ChannelAccess{Name: "trade", Orderers: orderers, Organization: s.organization("Org1MSP")}
	batch := func(n uint32) ChannelChange { return ChannelChange{Batch: configtx.Batch{MaxMessageCount: n}} }

	expired, err := s.fabric.Propose(ctx, own, batch(1), time.Now().Add(-time.Minute))
	s.must(err)
	late := new(ExpiredError)
	if _, err := s.fabric.SignProposal(ctx, org1, s.organization("Org1MSP"), s.update(expired)); !errors.As(err, &late) {
		t.Errorf("signing an expired one: %v", err)
	}
	if _, err := s.fabric.SubmitProposal(ctx, own, s.organization("OrdererMSP"), s.update(expired), nil); !errors.As(err, &late) {
		t.Errorf("submitting an expired one: %v", err)
	}

	first, err := s.fabric.Propose(ctx, own, batch(1), time.Now().Add(time.Hour))
	s.must(err)
	second, err := s.fabric.Propose(ctx, own, batch(2), time.Now().Add(time.Hour))
	s.must(err)
	signature, err := s.fabric.SignProposal(ctx, org1, s.organization("Org1MSP"), s.update(first))
	s.must(err)
	_, err = s.fabric.SubmitProposal(ctx, own, s.organization("OrdererMSP"), s.update(second), map[string][]byte{"org1": signature})
	if wrong := new(SignatureError); !errors.As(err, &wrong) || wrong.Name != "org1" || !errors.Is(err, configtx.ErrSignatureOfAnother) {
		t.Errorf("a signature of the other update: %v", err)
	}
	if _, err := VerifySignatures(first.Update, map[string][]byte{"org1": signature, "org2": []byte("nonsense")}); err == nil || !strings.Contains(err.Error(), "org2") || strings.Contains(err.Error(), "of org1") {
		t.Errorf("a signature that is none: %v", err)
	}
	if _, err := s.fabric.SubmitProposal(ctx, own, s.organization("OrdererMSP"), s.update(second), nil); err != nil {
		t.Error(err)
	}
	// The other one was made for the configuration before, and was never in force.
	if _, err := s.fabric.SubmitProposal(ctx, own, s.organization("OrdererMSP"), s.update(first), nil); !errors.Is(err, configtx.ErrOutdated) {
		t.Errorf("an outdated update: %v", err)
	}
	if _, err := s.fabric.Examine(ctx, own, s.update(first)); !errors.Is(err, configtx.ErrOutdated) {
		t.Errorf("examining an outdated update: %v", err)
	}
	s.addOrganization("Org3MSP", sketchOrganization{ca: "ca.org3"})
	outside := ChannelAccess{Name: "trade", Orderers: orderers, Organization: s.organization("Org3MSP")}
	if _, err := s.fabric.Propose(ctx, outside, batch(9), time.Now().Add(time.Hour)); !errors.As(err, new(*AdmissionError)) {
		t.Errorf("a proposal of somebody who cannot read the channel: %v", err)
	}
	other := ChannelAccess{Name: "other", Orderers: orderers, Organization: s.organization("Org1MSP")}
	if _, err := s.fabric.SignProposal(ctx, other, s.organization("Org1MSP"), s.update(first)); err == nil || !strings.Contains(err.Error(), "channel trade, and not of channel other") {
		t.Errorf("an update of another channel: %v", err)
	}
	for name, c := range map[string]struct {
		change ChannelChange
		want   string
	}{
		"the last consenters at once": {ChannelChange{RemoveOrdererOrganizations: []string{"OrdererMSP"}}, "the last one would go"},
		"a batch beyond its limits":   {ChannelChange{Batch: configtx.Batch{PreferredMaxBytes: 1 << 30}}, "preferred_max_bytes"},
		"the last members":            {ChannelChange{RemoveOrganizations: []string{"Org1MSP", "Org2MSP"}}, "the last one would go"},
	} {
		_, err := s.fabric.Propose(ctx, own, c.change, time.Now().Add(time.Hour))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProposeRefuses: changes that Fabric would refuse, or that nobody could undo, make no proposal.
func TestProposeRefuses(t *testing.T) {
	s := newSketch(t)
	ledger, _ := s.serveOrdering()
	own, expires := ChannelAccess{Channel: s.channel}, time.Now().Add(time.Hour)
	change := func(edit func(*configtx.Config) error) {
		t.Helper()
		_, err := s.fabric.updateChannel(t.Context(), configUpdate{
			channel: s.channel, orderers: []Handle{s.orderer("orderer0")}, admins: []Handle{s.organization("OrdererMSP")}, edit: edit,
		})
		s.must(err)
	}
	second := configtx.Address{Host: "orderer1.example.com", Port: 7050}
	change(func(config *configtx.Config) error { return config.RemoveConsenter(second) })
	now, err := configtx.Summarize(ledger.now())
	s.must(err)
	only := now.Consenters[0].Consenter
	twice := only
	twice.Host = second.Host
	for _, c := range []struct {
		name   string
		change ChannelChange
		says   string
	}{
		{"nothing", ChannelChange{Batch: now.Batch}, "nothing would change"},
		{"the last consenter", ChannelChange{RemoveConsenter: &configtx.Address{Host: only.Host, Port: only.Port}}, "the last one would go: nobody would order the channel any more"},
		{"the last ordering organization", ChannelChange{RemoveOrdererOrganizations: []string{"OrdererMSP"}}, "nobody would order the channel any more"},
		{"every member", ChannelChange{RemoveOrganizations: []string{"Org1MSP", "Org2MSP"}}, "the last one would go: nobody could change the channel any more"},
		{"the last admin", ChannelChange{ApplicationPolicies: map[string]string{"Admins": "OR('Org9MSP.admin')"}}, "Org9MSP"},
		{"a batch that no message holds", ChannelChange{Batch: configtx.Batch{AbsoluteMaxBytes: 101 << 20}}, "absolute_max_bytes"},
		{"a batch that is smaller than wanted", ChannelChange{Batch: configtx.Batch{AbsoluteMaxBytes: 1000}}, "preferred_max_bytes"},
		{"an unknown capability", ChannelChange{ApplicationCapability: "V9_9"}, `the capability "V9_9" is unknown`},
		{"a consenter with the keys of another one", ChannelChange{AddConsenter: &twice}, "has the same keys"},
	} {
		_, err := s.fabric.Propose(t.Context(), own, c.change, expires)
		if !errors.As(err, new(*ChangeError)) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}

	// Two consenters at once come only with an update that another tool made.
	base := ledger.now()
	wanted := base.Clone()
	for _, host := range []string{"orderer1.example.com", "orderer7.example.com"} {
		pair, err := issuePair(s.roots["OrdererMSP"].tls, certificate.LeafRequest{CommonName: host, Hosts: []string{host}, Server: true, Client: true, Validity: time.Hour})
		s.must(err)
		pem := string(pair.CertificatePEM())
		s.must(wanted.AddConsenter(configtx.Consenter{Host: host, Port: 7050, ClientTLSCertPEM: pem, ServerTLSCertPEM: pem}))
	}
	update, err := configtx.ComputeUpdate("trade", base.Proto, wanted.Proto)
	s.must(err)
	raw, err := configtx.MarshalUpdate(update)
	s.must(err)
	given, err := ReadUpdate(raw)
	s.must(err)
	if _, err := s.fabric.Examine(t.Context(), own, given); !errors.As(err, new(*ChangeError)) || !strings.Contains(err.Error(), "2 would come") {
		t.Errorf("two consenters at once: %v", err)
	}
}
