package network

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
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
