package provider

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// person is somebody who signs, with a certificate that no CA issued: a plan does not ask the channel.
func person(t *testing.T, mspID, name string) *msp.Identity {
	t.Helper()
	key, err := certificate.GenerateKey(certificate.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &msp.Identity{ID: mspID, CertificatePEM: certificate.EncodeCertificate(cert), Key: key}
}

// TestSignedChaincodeRefusals plans chaincodes that are not signed or not approved, without an engine.
func TestSignedChaincodeRefusals(t *testing.T) {
	c, other := newCosigner(t), newCosigner(t)
	image := "kv@sha256:" + strings.Repeat("a", 64)
	payload := payloadOf("sha256:" + strings.Repeat("a", 64))
	signed := c.verifying("kv_1.0", payload)
	_, packageID, err := network.ChaincodePackage("trade", "kv_1.0", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	// propose gives a proposal that somebody made, and an approval of it by each of the others.
	propose := func(version string, approvers ...*msp.Identity) (proposal string, approvals []string) {
		t.Helper()
		proposal, err := signoff.Propose(signoff.Release{
			Channel: "trade", Chaincode: "kv", Version: version, Sequence: 1, PackageID: packageID, ImageID: "sha256:1",
		}, person(t, "Org1MSP", "alice"), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		p, err := signoff.Parse(proposal)
		if err != nil {
			t.Fatal(err)
		}
		for _, by := range approvers {
			approval, err := p.Approve(by, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			approvals = append(approvals, approval)
		}
		return proposal, approvals
	}
	bob, carol := person(t, "Org2MSP", "bob"), person(t, "Org2MSP", "carol")
	good, approved := propose("1.0", bob, carol, person(t, "Org2MSP", "bob"))
	elsewhere, approvedElsewhere := propose("2.0", bob, carol)
	decided := func(proposal string, given ...string) string {
		return fmt.Sprintf("approvals = {\n proposal = %q\n given = { a = %q, b = %q }\n audit = { chaincode = local.code, identity = local.org1 }\n}", proposal, given[0], given[1])
	}
	kv := func(name, more string) string {
		return fmt.Sprintf("resource \"fabric_chaincode\" %q {\n  channel = local.channel\n  name = \"kv\"\n  version = \"1.0\"\n  server = { image = %q }\n%s\n}\n", name, image, more)
	}
	approval := func(name, more string) string {
		return strings.NewReplacer(`"fabric_chaincode"`, `"fabric_chaincode_approval"`, "local.channel", `merge(local.channel, { kind = "channel_membership", msp_id = "Org2MSP" })`).Replace(kv(name, more))
	}
	// What is refused while the configuration is read, and what while it is planned.
	t.Run("configuration", func(t *testing.T) {
		expectRefusals(t, nowhere+handles+
			kv("missing", fmt.Sprintf("verification = { public_keys = [%q] }", c.PublicKey))+
			kv("payload", fmt.Sprintf("verification = { public_keys = [%q], package_signature = \"AAAA\", image_signature = \"AAAA\" }", c.PublicKey))+
			kv("keys", "verification = { public_keys = [], package_signature = \"AAAA\", image_signature = \"AAAA\", image_payload = jsonencode({}) }")+
			kv("forms", "verification = { public_keys = [\"key\"], package_signature = \"{}\", image_signature = \"!\", image_payload = jsonencode({}) }")+
			kv("texts", decided("{}", "{}", "{}")),
			`Missing signature with fabric_chaincode.missing`, `The package needs a signature by one of public_keys.`, `The image of the servers needs a signature`,
			`Missing signature with fabric_chaincode.payload`, `one over a payload, which is verified with it`,
			`Attribute verification.public_keys list must contain at least 1 elements`,
			`Not a public key with fabric_chaincode.forms`, `Not a signature with fabric_chaincode.forms`, `Not a payload with fabric_chaincode.forms`,
			`Not a proposal with fabric_chaincode.texts`, `Not an approval with fabric_chaincode.texts`,
		)
	})
	t.Run("plan", func(t *testing.T) {
		flipped := []byte(signed)
		if at := strings.Index(signed, `\"signature\":\"`) + 40; flipped[at] == 'A' {
			flipped[at] = 'B'
		} else {
			flipped[at] = 'A'
		}
		expectRefusals(t, nowhere+handles+
			kv("good", signed+"\n"+decided(good, approved[0], approved[1]))+
			kv("key", other.verifying("kv_1.0", payload, c.PublicKey))+
			kv("package", c.verifying("kv_2.0", payload))+
			kv("bit", string(flipped))+
			kv("image", c.verifying("kv_1.0", payloadOf("sha256:"+strings.Repeat("b", 64))))+
			kv("version", decided(elsewhere, approvedElsewhere[0], approvedElsewhere[1]))+
			kv("policy", `endorsement_policy = "OR('Org1MSP.peer')"`+"\n"+decided(good, approved[0], approved[1]))+
			kv("twice", decided(good, approved[0], approved[2]))+
			kv("foreign", decided(good, approved[0], approvedElsewhere[1]))+
			approval("good", decided(good, approved[0], approved[1]))+
			approval("version", decided(elsewhere, approvedElsewhere[0], approvedElsewhere[1]))+
			approval("twice", decided(good, approved[0], approved[2])),
			`Package that is not signed with fabric_chaincode.key`, `none of the public keys made this signature`, `Image that is not signed with fabric_chaincode.key`,
			`Package that is not signed with fabric_chaincode.package`, `it is the signature of sha256:`,
			`Package that is not signed with fabric_chaincode.bit`,
			`Image that is not signed with fabric_chaincode.image`, `it is the signature of sha256:bbb`,
			`Release that was not approved with fabric_chaincode.version`, `version is 2.0 and not 1.0`,
			`Release that was not approved with fabric_chaincode.policy`, `endorsement_policy is empty and not OR('Org1MSP.peer')`,
			`Release that was not approved with fabric_chaincode.twice`, `1 did: bob of Org2MSP (a person with several certificates counts once)`,
			`Release that was not approved with fabric_chaincode.foreign`, `it is not an approval of this release`,
			// Who approves what another state commits is held to the same.
			`Release that was not approved with fabric_chaincode_approval.version`, `Release that was not approved with fabric_chaincode_approval.twice`,
		)
	})
}
