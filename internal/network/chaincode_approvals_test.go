package network

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
	"github.com/fabricops/terraform-provider-fabric/internal/signature"
)

// TestProposedRelease: what a chaincode means is proposed, however it is spelled; and all of it counts.
func TestProposedRelease(t *testing.T) {
	spec := func(endorsement, members string, order ...string) ChaincodeSpec {
		s := ChaincodeSpec{Channel: Handle{Kind: KindChannel, Name: "trade"}, Name: "kv", Version: "1.0"}
		if endorsement != "" {
			s.ValidationParameter = parameter(t, endorsement)
		}
		var list []Collection
		for _, name := range order {
			list = append(list, Collection{Name: name, MemberPolicy: members, MaxPeerCount: 1})
		}
		var err error
		if s.Collections, err = CollectionPackage(list); err != nil {
			t.Fatal(err)
		}
		return s
	}
	proposed := func(s ChaincodeSpec) *Approvals {
		t.Helper()
		r, err := releaseOf(s, 2, "kv_1.0:abc", "sha256:def")
		if err != nil {
			t.Fatal(err)
		}
		return &Approvals{Proposal: signoff.Proposal{Release: r}}
	}
	one := spec("AND('Org1MSP.peer', 'Org2MSP.peer')", "OR('Org1MSP.member', 'Org2MSP.member')", "a", "b")
	for name, other := range map[string]ChaincodeSpec{
		"the same":       one,
		"another order":  spec("AND('Org1MSP.peer', 'Org2MSP.peer')", "OR('Org1MSP.member', 'Org2MSP.member')", "b", "a"),
		"other words":    spec("OutOf(2, 'Org2MSP.peer', 'Org1MSP.peer')", "OutOf(1, 'Org2MSP.member', 'Org1MSP.member')", "a", "b"),
		"!policy":        spec("OR('Org1MSP.peer', 'Org2MSP.peer')", "OR('Org1MSP.member', 'Org2MSP.member')", "a", "b"),
		"!members":       spec("AND('Org1MSP.peer', 'Org2MSP.peer')", "OR('Org1MSP.member')", "a", "b"),
		"!a collection":  spec("AND('Org1MSP.peer', 'Org2MSP.peer')", "OR('Org1MSP.member', 'Org2MSP.member')", "a"),
		"!the default":   spec("", "OR('Org1MSP.member', 'Org2MSP.member')", "a", "b"),
		"!no collection": spec("AND('Org1MSP.peer', 'Org2MSP.peer')", ""),
	} {
		err := proposed(one).RequireProposedDefinition(other, "kv_1.0:abc")
		if fits := !strings.HasPrefix(name, "!"); fits != (err == nil) || !fits && !errors.As(err, new(*OtherReleaseError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := proposed(one).RequireProposedDefinition(one, "kv_1.0:other"); !errors.As(err, new(*OtherReleaseError)) {
		t.Errorf("another package: %v", err)
	}
	if err := proposed(spec("", "")).RequireProposedDefinition(spec(policy.DefaultReference, ""), "kv_1.0:abc"); err != nil {
		t.Errorf("the default by its name: %v", err)
	}
}

// TestVerification: a chaincode is installed by what it is, not by what it is called.
func TestVerification(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(content []byte) signature.Signature {
		t.Helper()
		sum := sha256.Sum256(content)
		raw, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		s, err := signature.Parse(base64.StdEncoding.EncodeToString(raw))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	id, digest := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	packed, _, err := ChaincodePackage("trade", "kv_1.0", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{id, digest} {
		payload := fmt.Sprintf(`{"critical":{"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"}}`, of)
		v := &Verification{Keys: signature.Keys{&key.PublicKey}, Package: signed(packed), Image: signed([]byte(payload)), ImagePayload: payload}
		if err := errors.Join(v.VerifyPackage(packed), v.VerifyImage(engine.Image{ID: id, Digests: []string{digest}})); err != nil {
			t.Error(err)
		}
		refused := new(VerificationError)
		for i := range packed {
			changed := append([]byte{}, packed...)
			changed[i] ^= 1
			if err := v.VerifyPackage(changed); !errors.As(err, &refused) || refused.What != SignedPackage {
				t.Fatalf("with byte %d of the package changed: %v", i, err)
			}
		}
		other := engine.Image{Reference: of, ID: "sha256:" + strings.Repeat("c", 64)}
		if err := v.VerifyImage(other); !errors.As(err, &refused) || refused.What != SignedImage {
			t.Errorf("another image: %v", err)
		}
	}
	if err := errors.Join((*Verification)(nil).VerifyPackage(packed), (*Verification)(nil).VerifyImage(engine.Image{})); err != nil {
		t.Errorf("without verification: %v", err)
	}
}

// TestPreflightChaincodeWantsSignatures: what is not signed is refused while there is nothing yet.
func TestPreflightChaincodeWantsSignatures(t *testing.T) {
	s := newSketch(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	unsigned, err := signature.Parse(base64.StdEncoding.EncodeToString([]byte("no signature")))
	s.must(err)
	image, err := s.fake.ResolveImage(t.Context(), "kv:1")
	s.must(err)
	spec := ChaincodeSpec{Channel: s.channel, Name: "kv", Version: "1", Label: "kv_1", Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "kv:1"}}}
	s.must(s.fabric.PreflightChaincode(t.Context(), spec))
	spec.Verification = &Verification{
		Keys: signature.Keys{&key.PublicKey}, Package: unsigned, Image: unsigned,
		ImagePayload: fmt.Sprintf(`{"critical":{"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"}}`, image.ID),
	}
	for name, refuse := range map[string]func(context.Context, ChaincodeSpec) error{
		"preflight": s.fabric.PreflightChaincode,
		"release": func(ctx context.Context, spec ChaincodeSpec) error {
			_, err := s.fabric.ReleaseChaincode(ctx, spec)
			return err
		},
	} {
		if err := refuse(t.Context(), spec); !errors.Is(err, signature.ErrNotByKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	servers, err := s.fabric.serversOn(t.Context(), s.channel)
	s.must(err)
	if len(servers) > 0 {
		t.Errorf("there are servers: %v", servers)
	}
}

// TestReleasedByRecord: a definition in force was released with an image that the state does not know when
// the very release is on record. Otherwise it takes the next sequence, and approvals of that.
func TestReleasedByRecord(t *testing.T) {
	s := newSketch(t)
	record := ""
	for _, p := range []string{"peer0.org1", "peer1.org1"} {
		s.serve(s.peer(p, "Org1MSP"), peerPort, func(g *grpc.Server) {
			peer.RegisterEndorserServer(g, &endorserFunc{answer: func(args []string, _ bool) *peer.ProposalResponse {
				if args[0] != "get" || args[1] != "release/trade/kv/2/digest" {
					t.Errorf("it was asked for %s", args)
				}
				if record == "" {
					return refusal("no value")
				}
				return &peer.ProposalResponse{Response: &peer.Response{Status: 200, Payload: []byte(record)}}
			}})
		})
	}
	spec := ChaincodeSpec{Channel: s.channel, Name: "kv", Version: "1.0"}
	r, err := releaseOf(spec, 2, "kv_1.0:abc", "sha256:new")
	s.must(err)
	approvals := &Approvals{
		Proposal: signoff.Proposal{Release: r, Digest: "digest"},
		Audit:    Audit{Chaincode: ChaincodeHandle(s.channel, "audit"), Identity: s.peer("peer0.org1", "Org1MSP").Organization(), Get: "get"},
	}
	for _, c := range []struct {
		name        string
		approvals   *Approvals
		after       bool // the organization has not approved it yet
		known, runs string
		sequence    int64
		record      string
		released    bool
	}{
		{name: "nobody has to approve", runs: "sha256:new", sequence: 2, released: true},
		{name: "the image that the state knows", approvals: approvals, known: "sha256:old", runs: "sha256:old", sequence: 2, released: true},
		{name: "on record", approvals: approvals, runs: "sha256:new", sequence: 2, record: `{"digest":"digest"}`, released: true},
		{name: "not on record", approvals: approvals, runs: "sha256:new", sequence: 2},
		{name: "another record", approvals: approvals, runs: "sha256:new", sequence: 2, record: `{"digest":"other"}`},
		{name: "another image", approvals: approvals, runs: "sha256:third", sequence: 2, record: `{"digest":"digest"}`},
		{name: "in force and not approved", approvals: approvals, after: true, known: "sha256:new", runs: "sha256:new", sequence: 2},
		{name: "in force, not approved and on record", approvals: approvals, after: true, runs: "sha256:new", sequence: 2, record: `{"digest":"digest"}`, released: true},
		{name: "for the next sequence", approvals: approvals, runs: "sha256:new", sequence: 1, record: `{"digest":"digest"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			record, spec.Approvals, spec.Server.ImageID = c.record, c.approvals, c.known
			released, err := s.fabric.released(t.Context(), spec, lifecycle.Definition{Sequence: c.sequence}, !c.after, "kv_1.0:abc", engine.Image{ID: c.runs})
			if err != nil || released != c.released {
				t.Errorf("released gives %t, %v", released, err)
			}
		})
	}
}
