package configtx

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-config/protolator"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

func TestTermsTravelInTheBytesThatAreSigned(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	base.Proto.Sequence = 7
	to := base.Clone()
	if err := to.SetBatch(Batch{MaxMessageCount: 42}); err != nil {
		t.Fatal(err)
	}
	expires := time.Date(2030, 1, 2, 3, 4, 5, 600, time.UTC)
	update, err := Propose(base, to, expires)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := MarshalUpdate(update)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseUpdate(raw)
	if err != nil {
		t.Fatal(err)
	}
	terms, ok := TermsOf(parsed)
	if want := (Terms{Sequence: 7, Expires: expires.Truncate(time.Second)}); !ok || terms != want {
		t.Errorf("terms %v %v, want %v", terms, ok, want)
	}
	// Fabric and its tools see an update like any other.
	if err := protolator.DeepMarshalJSON(io.Discard, parsed); err != nil {
		t.Errorf("configtxlator would not read it: %v", err)
	}
	after, err := Apply(base, parsed)
	if err != nil || !proto.Equal(after.Proto.GetChannelGroup().GetGroups()["Orderer"].GetGroups()["OrdererMSP"], base.Proto.GetChannelGroup().GetGroups()["Orderer"].GetGroups()["OrdererMSP"]) {
		t.Errorf("the update does not apply: %v", err)
	}
	plain, err := ComputeUpdate(base.Channel, base.Proto, to.Proto)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := TermsOf(plain); ok {
		t.Error("an update of another tool has terms")
	}
	plain.ProtoReflect().SetUnknown(protowire.AppendTag(nil, fieldSequence, protowire.BytesType))
	if _, ok := TermsOf(plain); ok {
		t.Error("a damaged field gives terms")
	}
	if _, err := Propose(base, base.Clone(), expires); !errors.Is(err, ErrNoChange) {
		t.Errorf("an update that changes nothing: %v", err)
	}
}

// TestWrites: the bytes of an update alone tell what it writes, what it removes too.
func TestWrites(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	org3 := newTestOrganization(t, "Org3MSP")
	for name, c := range map[string]struct {
		edit func(*Config) error
		want []string
	}{
		"a batch": {
			edit: func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 42, Timeout: time.Second}) },
			want: []string{"max_message_count 42", "batch timeout 1s [mod_policy Admins]"},
		},
		"an organization comes": {
			edit: func(c *Config) error {
				return c.SetApplicationOrganization(ApplicationOrganization{Definition: org3.Definition})
			},
			want: []string{
				"organization Org3MSP added [mod_policy Admins]", "members of /Channel/Application [mod_policy Admins]",
				"policy /Channel/Application/Org3MSP/Admins: OR('Org3MSP.admin') [mod_policy Admins]", "ca.Org3MSP",
			},
		},
		"an organization goes": {
			edit: func(c *Config) error { return c.RemoveApplicationOrganization("org-2.example.com") },
			want: []string{"organization org-2.example.com removed", "members of /Channel/Application [mod_policy Admins]"},
		},
		"a policy": {
			edit: func(c *Config) error {
				return c.SetApplicationPolicies(map[string]string{"Endorsement": "ANY Endorsement"})
			},
			want: []string{"policy /Channel/Application/Endorsement: ANY Endorsement [mod_policy Admins]"},
		},
		"a mod_policy": {
			edit: func(c *Config) error {
				c.Proto.GetChannelGroup().GetGroups()["Orderer"].GetValues()["BatchSize"].ModPolicy = "/Channel/Application/Org1MSP/Admins"
				return nil
			},
			want: []string{"[mod_policy /Channel/Application/Org1MSP/Admins]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := base.Clone()
			if err := c.edit(to); err != nil {
				t.Fatal(err)
			}
			update, err := Propose(base, to, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Apply(base, update); err != nil {
				t.Errorf("Fabric would refuse it: %v", err)
			}
			words, err := Writes(update)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(strings.Join(words, "\n"))
			for _, want := range c.want {
				if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, want) }) {
					t.Errorf("%q is missing", want)
				}
			}
		})
	}
	if _, err := Writes(&common.ConfigUpdate{ChannelId: "trade", WriteSet: &common.ConfigGroup{}, ReadSet: &common.ConfigGroup{}}); !errors.Is(err, ErrNoChange) {
		t.Errorf("an update that changes nothing: %v", err)
	}
}

// TestWhatIsRemovedIsPinned: an organization that was changed meanwhile is not removed by an old update.
func TestWhatIsRemovedIsPinned(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	to := base.Clone()
	if err := to.RemoveApplicationOrganization("org-2.example.com"); err != nil {
		t.Fatal(err)
	}
	update, err := Propose(base, to, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	base.Proto.GetChannelGroup().GetGroups()["Application"].GetGroups()["org-2.example.com"].Version++
	if _, err := Apply(base, update); !errors.Is(err, ErrOutdated) {
		t.Errorf("got %v, want ErrOutdated", err)
	}
}

func TestUpdateOf(t *testing.T) {
	n := newNetwork(t)
	block, base := genesis(t, n.channel())
	if update, err := UpdateOf(block); err != nil || update != nil {
		t.Errorf("a genesis block was made by an update: %x, %v", update, err)
	}
	to := base.Clone()
	if err := to.SetBatch(Batch{MaxMessageCount: 42}); err != nil {
		t.Fatal(err)
	}
	update, err := Propose(base, to, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := MarshalUpdate(update)
	if err != nil {
		t.Fatal(err)
	}
	admin := n.org1.ca.member(t, "admin", "admin")
	envelope, err := UpdateEnvelope(base.Channel, raw, nil, &msp.Identity{ID: "Org1MSP", CertificatePEM: []byte(admin.pem), Key: admin.key})
	if err != nil {
		t.Fatal(err)
	}
	next := &common.Block{Header: &common.BlockHeader{Number: 1}, Data: &common.BlockData{Data: [][]byte{marshal(t, &common.Envelope{
		Payload: marshal(t, &common.Payload{Data: marshal(t, &common.ConfigEnvelope{Config: to.Proto, LastUpdate: envelope})}),
	})}}}
	if got, err := UpdateOf(next); err != nil || !slices.Equal(got, raw) {
		t.Errorf("got %x, %v, want %x", got, err, raw)
	}
	if _, err := UpdateOf(&common.Block{Data: &common.BlockData{Data: [][]byte{nil, nil}}}); !errors.Is(err, ErrNotConfig) {
		t.Errorf("a block of two transactions: %v", err)
	}
}
