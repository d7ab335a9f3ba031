package signoff

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// member makes an identity with a new key. The enrolment ID stands in the certificate as Fabric CA writes it;
// without one there is only the common name.
func member(t testing.TB, mspID, commonName, enrollmentID string) *msp.Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: commonName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if enrollmentID != "" {
		template.ExtraExtensions = []pkix.Extension{{
			Id: asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}, Value: fmt.Appendf(nil, `{"attrs":{"hf.EnrollmentID":%q}}`, enrollmentID),
		}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &msp.Identity{ID: mspID, CertificatePEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: key}
}

var wanted = Release{
	Channel: "trade", Chaincode: "kv", Version: "1.0", Sequence: 3, PackageID: "kv_1.0:abc", ImageID: "sha256:def",
	EndorsementPolicy: "AND('Org1MSP.peer', 'Org2MSP.peer')", Collections: []string{`{"Name":"prices"}`}, InitRequired: true,
}

// propose gives a proposal that expires in an hour.
func propose(t testing.TB, r Release, by *msp.Identity) (Proposal, string) {
	t.Helper()
	text, err := Propose(r, by, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p, text
}

func approve(t testing.TB, p Proposal, by *msp.Identity) Approval {
	t.Helper()
	text, err := p.Approve(by, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseApproval(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestProposal(t *testing.T) {
	p, _ := propose(t, wanted, member(t, "Org1MSP", "alice", ""))
	if differs := p.Differences(wanted); differs != nil {
		t.Errorf("it came back with %s", differs)
	}
	if want := (Person{"Org1MSP", "alice"}); p.Proposer != want {
		t.Errorf("%s proposed it", p.Proposer)
	}
	if err := p.RefuseExpired(time.Now()); err != nil {
		t.Error(err)
	}
	if err := p.RefuseExpired(p.Expires.Add(time.Second)); !errors.As(err, new(*ExpiredError)) {
		t.Errorf("when it has expired: %v", err)
	}
	if _, err := p.Approve(member(t, "Org2MSP", "bob", ""), p.Expires.Add(time.Second)); !errors.As(err, new(*ExpiredError)) {
		t.Errorf("it is approved when it has expired: %v", err)
	}
}

// TestEveryMemberIsSigned changes each member of a release: its digest is another one, and neither the
// proposer's signature nor an approval is one of it.
func TestEveryMemberIsSigned(t *testing.T) {
	alice, bob := member(t, "Org1MSP", "alice", ""), member(t, "Org2MSP", "bob", "")
	p, text := propose(t, wanted, alice)
	approval := approve(t, p, bob)
	signed := reflect.TypeFor[Release]()
	for i := range signed.NumField() {
		name := signed.Field(i).Name
		changed := p.Release
		switch field := reflect.ValueOf(&changed).Elem().Field(i); value := field.Interface().(type) {
		case string:
			field.SetString(value + "x")
		case int64:
			field.SetInt(value + 1)
		case bool:
			field.SetBool(!value)
		case []string:
			field.Set(reflect.ValueOf(append([]string{"another"}, value...)))
		case Person:
			field.Set(reflect.ValueOf(Person{"Org2MSP", "mallory"}))
		case time.Time:
			field.Set(reflect.ValueOf(value.Add(time.Hour)))
		default:
			t.Fatalf("%s is of type %s", name, field.Type())
		}
		raw, err := json.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		forged := strings.Replace(text, string(p.raw), string(raw), 1)
		if forged == text {
			t.Fatalf("%s was not changed", name)
		}
		if _, err := Parse(forged); err == nil {
			t.Errorf("with another %s it is still a proposal of %s", name, p.Proposer)
		}
		if name == "Proposer" || name == "Expires" {
			continue
		}
		other, _ := propose(t, changed, alice)
		if other.Digest == p.Digest {
			t.Errorf("with another %s the digest is the same", name)
		}
		if differs := other.Differences(wanted); len(differs) != 1 {
			t.Errorf("with another %s it differs in %s", name, differs)
		}
		approval := approval
		approval.Digest = other.Digest // who forwards it may claim that
		if _, err := other.Approvers(1, map[string]Approval{"bob": approval}, nil); !errors.Is(err, ErrOtherRelease) {
			t.Errorf("the approval counts for another %s: %v", name, err)
		}
	}
}

func TestApprovers(t *testing.T) {
	alice := member(t, "Org1MSP", "alice", "")
	bob, carol := member(t, "Org2MSP", "bob", ""), member(t, "Org2MSP", "carol", "")
	bobAgain := member(t, "Org2MSP", "carol-laptop", "bob") // another certificate, and another common name
	otherBob := member(t, "Org1MSP", "bob", "")             // another organization's
	p, _ := propose(t, wanted, alice)
	earlier := wanted
	earlier.Sequence--
	replayed, _ := propose(t, earlier, alice)
	byAlice := approve(t, p, bob)
	byAlice.Signature = Signature{"Org1MSP", string(alice.CertificatePEM), p.signature.Signature}
	byAliceAgain, err := sign(asApproval, p.raw, member(t, "Org1MSP", "someone", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	swapped := approve(t, p, bob)
	swapped.Certificate = string(carol.CertificatePEM)
	flipped := approve(t, p, bob)
	flipped.Signature.Signature[10] ^= 1
	type approvals = map[string]Approval
	tooFew, own := new(TooFewError), new(OwnError)
	for name, c := range map[string]struct {
		required int
		given    approvals
		people   int
		fails    any
	}{
		"two people":                      {2, approvals{"a": approve(t, p, bob), "b": approve(t, p, carol)}, 2, nil},
		"more than required":              {1, approvals{"a": approve(t, p, bob), "b": approve(t, p, carol)}, 2, nil},
		"one name in two organizations":   {2, approvals{"a": approve(t, p, bob), "b": approve(t, p, otherBob)}, 2, nil},
		"nobody":                          {1, nil, 0, &tooFew},
		"one of two":                      {2, approvals{"a": approve(t, p, bob)}, 1, &tooFew},
		"the same approval twice":         {2, approvals{"a": approve(t, p, bob), "b": approve(t, p, bob)}, 1, &tooFew},
		"one person, two certificates":    {2, approvals{"a": approve(t, p, bob), "b": approve(t, p, bobAgain)}, 1, &tooFew},
		"the proposer's own signature":    {1, approvals{"a": byAlice}, 0, ErrOtherRelease},
		"the proposer, with another one":  {1, approvals{"a": {Digest: p.Digest, Signature: byAliceAgain}}, 0, &own},
		"one of an earlier release":       {1, approvals{"a": approve(t, replayed, bob)}, 0, ErrOtherRelease},
		"another certificate":             {1, approvals{"a": swapped}, 0, ErrOtherRelease},
		"a changed signature":             {1, approvals{"a": flipped}, 0, ErrOtherRelease},
		"enough, and one that is no good": {1, approvals{"a": approve(t, p, bob), "b": flipped}, 1, ErrOtherRelease},
	} {
		t.Run(name, func(t *testing.T) {
			people, err := p.Approvers(c.required, c.given, nil)
			switch fails := c.fails.(type) {
			case nil:
				if err != nil {
					t.Error(err)
				}
			case error:
				if !errors.Is(err, fails) {
					t.Errorf("it fails with %v", err)
				}
			default:
				if !errors.As(err, fails) {
					t.Errorf("it fails with %v", err)
				}
			}
			if len(people) != c.people {
				t.Errorf("%s approved", people)
			}
		})
	}
	refused := errors.New("revoked")
	for _, name := range []string{"alice", "bob"} {
		people, err := p.Approvers(1, approvals{"a": approve(t, p, bob), "b": approve(t, p, carol)}, func(_ string, cert *x509.Certificate) error {
			if cert.Subject.CommonName == name {
				return refused
			}
			return nil
		})
		if !errors.Is(err, refused) {
			t.Errorf("when %s is revoked: %s, %v", name, people, err)
		}
	}
	if _, err := p.Approve(alice, time.Now()); !errors.As(err, &own) {
		t.Errorf("who proposed approves: %v", err)
	}
}

func TestRecord(t *testing.T) {
	alice, bob := member(t, "Org1MSP", "alice", ""), member(t, "Org2MSP", "bob", "")
	p, _ := propose(t, wanted, alice)
	given := map[string]Approval{"bob": approve(t, p, bob)}
	people, err := p.Approvers(1, given, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	content, err := p.Record(given, people, at)
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	if r.Digest != p.Digest || string(r.Release) != string(p.raw) || !r.At.Equal(at.Truncate(time.Second)) || !reflect.DeepEqual(r.Approvers, people) {
		t.Errorf("the record is %s", content)
	}
	for _, a := range r.Approvals { // it proves by itself what it says
		if _, _, err := a.verify(asApproval, r.Release); err != nil {
			t.Error(err)
		}
	}
	if key := p.RecordKey(); key != "release/trade/kv/3/"+p.Digest {
		t.Errorf("its key is %s", key)
	}
}

func TestParseRefuses(t *testing.T) {
	_, text := propose(t, wanted, member(t, "Org1MSP", "alice", ""))
	for name, refused := range map[string]string{
		"nothing":             "",
		"no JSON":             "release",
		"another object":      "{}",
		"more at its end":     text + "{}",
		"another member":      strings.Replace(text, `{"release":{`, `{"release":{"comment":"x",`, 1),
		"a member twice":      strings.Replace(text, `"version":"1.0"`, `"version":"2.0","version":"1.0"`, 1),
		"written otherwise":   strings.Replace(text, `"version":"1.0"`, `"version": "1.0"`, 1),
		"without a signature": text[:strings.Index(text, `,"signature"`)] + "}",
	} {
		if refused == text {
			t.Fatalf("%s: nothing was changed", name)
		}
		if p, err := Parse(refused); err == nil {
			t.Errorf("%s: it was read as %+v", name, p.Release)
		}
	}
}

// FuzzParse reads what is handed between organizations: nothing brings it down, and what it reads was
// signed by who it names.
func FuzzParse(f *testing.F) {
	p, text := propose(f, wanted, member(f, "Org1MSP", "alice", ""))
	approval, err := p.Approve(member(f, "Org2MSP", "bob", "bob"), time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(approval)
	f.Add(text[:len(text)/2])
	f.Fuzz(func(t *testing.T, text string) {
		if read, err := Parse(text); err == nil && read.Digest != p.Digest {
			t.Fatalf("somebody signed %s", read.raw)
		}
		a, err := ParseApproval(text)
		if err != nil {
			return
		}
		if people, err := p.Approvers(1, map[string]Approval{"a": a}, nil); err == nil && people[0].EnrollmentID != "bob" {
			t.Fatalf("%s approved", people)
		}
	})
}
