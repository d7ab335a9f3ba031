package provider

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// cosigner signs as cosign does; what it makes is in the forms of internal/signature's fixtures.
type cosigner struct {
	t   *testing.T
	key *ecdsa.PrivateKey
	// PublicKey is in PEM.
	PublicKey string
}

func newCosigner(t *testing.T) cosigner {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return cosigner{t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

func (c cosigner) sign(content []byte) string {
	c.t.Helper()
	sum := sha256.Sum256(content)
	signature, err := ecdsa.SignASN1(rand.Reader, c.key, sum[:])
	if err != nil {
		c.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

// ofPackage signs the package of chaincode kv with a label, in a bundle.
func (c cosigner) ofPackage(label string) string {
	c.t.Helper()
	packed, _, err := network.ChaincodePackage("trade", label, nil, false)
	if err != nil {
		c.t.Fatal(err)
	}
	sum := sha256.Sum256(packed)
	bundle, err := json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"messageSignature": map[string]any{
			"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": c.sign(packed),
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return string(bundle)
}

// payloadOf is what cosign signs for an image.
func payloadOf(digest string) string {
	return fmt.Sprintf(`{"critical":{"identity":{"docker-reference":"kv"},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
}

// verification is the attribute with the signatures of a package and of an image. Other keys are accepted in
// place of the one that signs.
func (c cosigner) verification(label, tag string, keys ...string) string {
	c.t.Helper()
	image, err := localEngine(c.t).ResolveImage(c.t.Context(), "fabricops/kv-chaincode:"+tag)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.verifying(label, payloadOf(image.ID), keys...)
}

func (c cosigner) verifying(label, payload string, keys ...string) string {
	c.t.Helper()
	if len(keys) == 0 {
		keys = []string{c.PublicKey}
	}
	return fmt.Sprintf("verification = { public_keys = [%q], package_signature = %q, image_payload = %q, image_signature = %q }", keys[0], c.ofPackage(label), payload, c.sign([]byte(payload)))
}

// signedRelease is what a step of the test is about.
type signedRelease struct {
	contracts
	cosigner
}

// people are who decides, and the chaincode that keeps the records, on a channel of its own.
const people = `
resource "fabric_identity" "alice" {
  organization = fabric_organization.org1.handle
  name         = "alice"
}

resource "fabric_identity" "bob" {
  organization = fabric_organization.org2.handle
  name         = "bob"
  key_version  = BOBS
}

resource "fabric_identity" "carol" {
  organization = fabric_organization.org2.handle
  name         = "carol"
}

resource "fabric_chaincode" "audit" {
  channel            = fabric_channel.slow.handle
  name               = "audit"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}
`

// proposedRelease is a release that alice proposes, and that bob and carol approve.
func proposedRelease(name, version, tag, validFor string) string {
	text := fmt.Sprintf(`
resource "fabric_release_proposal" %[1]q {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = %[2]q
  package_id         = provider::fabric::package_id({ channel = "trade", label = "kv_%[2]s" })
  image              = "fabricops/kv-chaincode:%[3]s"
  endorsement_policy = "OutOf(2, 'Org2MSP.peer', 'Org1MSP.peer')"
  proposer           = fabric_identity.alice.handle
  valid_for          = %[4]q
}
`, name, version, tag, validFor)
	return text + approvalBy(name, "bob", "fabric_identity.bob") + approvalBy(name, "carol", "fabric_identity.carol")
}

// approvalBy is the approval of a proposal by an identity.
func approvalBy(proposal, name, identity string) string {
	return fmt.Sprintf(`
resource "fabric_release_approval" "%[1]s_%[2]s" {
  proposal = fabric_release_proposal.%[1]s.proposal
  approver = %[3]s.handle
}
`, proposal, name, identity)
}

// approvals is the attribute with a proposal and who approved it.
func approvals(proposal, put string, approvers ...string) string {
	var given []string
	for _, who := range approvers {
		given = append(given, fmt.Sprintf("%[2]s = fabric_release_approval.%[1]s_%[2]s.approval", proposal, who))
	}
	return fmt.Sprintf(`approvals = {
    proposal = fabric_release_proposal.%s.proposal
    given    = { %s }
    audit    = { chaincode = fabric_chaincode.audit.handle, identity = fabric_organization.org1.handle, put_function = %q }
  }`, proposal, strings.Join(given, ", "), put)
}

func (c signedRelease) with(kv string, more ...string) string {
	text, bobs := strings.Join(more, "\n"), "1"
	if strings.Contains(text, "_again") {
		bobs = "2" // approves once more, with another certificate
	}
	c.kv, c.more = kv, strings.Replace(people, "BOBS", bobs, 1)+text
	return c.String()
}

// installed expects that a peer has packages of kv with these labels, and no other.
func (c signedRelease) installed(labels ...string) error {
	t := c.cosigner.t
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	peer := handleOfNode(t, c.name+"-peer0.org1")
	admin, conn := connectAsAdmin(t, peer, 7051)
	packages, err := lifecycle.QueryInstalled(ctx, endorser.Peer{Name: peer.Name, Conn: conn}, admin)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, p := range packages {
		have = append(have, p.PackageID)
	}
	have = slices.DeleteFunc(have, func(id string) bool { return !strings.HasPrefix(id, "kv_") })
	for i, id := range have {
		have[i], _, _ = strings.Cut(id, ":")
	}
	slices.Sort(have)
	if !slices.Equal(have, labels) {
		return fmt.Errorf("installed are %s, want %s", have, labels)
	}
	return nil
}

// recorded expects the record of a release, with who approved it.
func (c signedRelease) recorded(proposal string, sequence int64, approvers ...string) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		t := c.cosigner.t
		proposal := state.RootModule().Resources["fabric_release_proposal."+proposal].Primary.Attributes
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		peer := handleOfNode(t, c.name+"-peer0.org1")
		content, err := reads(t).Query(ctx, network.Call{
			Chaincode: network.ChaincodeHandle(peer.With(network.KindChannel, "slow", ""), "audit"), Identity: peer.Organization(),
			Function: "get", Arguments: []string{proposal["record_key"]},
		})
		if err != nil {
			return err
		}
		var record signoff.Record
		var released signoff.Release
		if err := errors.Join(json.Unmarshal(content, &record), json.Unmarshal(record.Release, &released)); err != nil {
			return err
		}
		var names []string
		for _, p := range record.Approvers {
			names = append(names, p.EnrollmentID)
		}
		if record.Digest != proposal["digest"] || released.Sequence != sequence || !slices.Equal(names, approvers) || time.Since(record.At) > time.Hour {
			return fmt.Errorf("the record is %s", content)
		}
		return nil
	}
}

// TestLongSignedChaincode releases a chaincode that has to be signed, and approved by two people, and
// tries what is refused: nothing of that reaches a peer.
func TestLongSignedChaincode(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"3.1.1", "2.5.9"} {
		t.Run(version, func(t *testing.T) {
			c := signedRelease{contracts{name: networkName(t), version: version}, newCosigner(t)}
			sweepNetwork(t, c.name)
			w := &watcher{t: t, name: c.name}
			kv := func(version, tag, verification, approvals string) string {
				return release(version, tag, bothSign, verification, approvals)
			}
			good := func(version, tag string) string { return c.verification("kv_"+version, tag) }
			more := proposedRelease("first", "1.0", "1.0", "1h")
			// untouched expects before a step that the one before installed nothing more than these.
			untouched := func(labels ...string) func() {
				return func() {
					if err := c.installed(labels...); err != nil {
						t.Error(err)
					}
				}
			}
			refuses := func(kv, more, pattern string, labels ...string) []resource.TestStep {
				return []resource.TestStep{{
					PreConfig: untouched(labels...), Config: c.with(kv, more), ExpectError: regexp.MustCompile("(?s)" + strings.ReplaceAll(pattern, " ", `\s+`)),
				}}
			}
			other := newCosigner(t)
			otherImage := payloadOf("sha256:" + strings.Repeat("0", 64))
			both := approvals("first", "put", "bob", "carol")
			steps := [][]resource.TestStep{
				{{Config: c.with("", more)}},
				// Signatures.
				refuses(kv("1.0", "1.0", other.verification("kv_1.0", "1.0", c.PublicKey), both), more, `Package that is not signed.*none of the public keys made this signature`),
				refuses(kv("1.0", "1.0", c.verification("kv_2.0", "1.0"), both), more, `Package that is not signed.*it is the signature of sha256:`),
				refuses(kv("1.0", "1.0", c.verifying("kv_1.0", otherImage), both), more, `Unable to create chaincode kv.*signature of the image is refused: it is the signature of sha256:0000`),
				// People.
				refuses(kv("1.0", "1.0", good("1.0", "1.0"), approvals("first", "put", "bob")), more, `2 people have to approve.*1 did: bob of Org2MSP`),
				refuses(kv("1.0", "1.0", good("1.0", "1.0"), approvals("first", "nothing", "bob", "carol")), more, `is not kept by chaincode slow/audit`),
				{{ // Released, and on record.
					PreConfig:         untouched(),
					Config:            c.with(kv("1.0", "1.0", good("1.0", "1.0"), both), more),
					Check:             resource.ComposeTestCheckFunc(c.recorded("first", 1, "bob", "carol"), c.answers(t, "1.0", "version"), w.look),
					ConfigStateChecks: sequence(1, "kv_1.0"),
				}},
			}
			both = approvals("next", "put", "bob", "carol")
			steps = append(steps, []resource.TestStep{
				{ // Another version, which everybody approves in the same apply.
					Config:            c.with(kv("2.0", "1.0", good("2.0", "1.0"), both), more, proposedRelease("next", "2.0", "1.0", "1h")),
					Check:             resource.ComposeTestCheckFunc(c.recorded("next", 2, "bob", "carol"), w.kept(false)),
					ConfigStateChecks: sequence(2, "kv_2.0"),
				},
				{ // Another image takes a release too.
					Config:            c.with(kv("2.0", "2.0", good("2.0", "2.0"), both), more, proposedRelease("next", "2.0", "2.0", "1h")),
					ConfigPlanChecks:  planned(plancheck.ResourceActionUpdate, kvAddress),
					Check:             resource.ComposeTestCheckFunc(c.recorded("next", 3, "bob", "carol"), c.answers(t, "2.0", "version"), w.kept(false)),
					ConfigStateChecks: sequence(3, "kv_2.0"),
				},
			})
			next := more + proposedRelease("next", "3.0", "2.0", "1h")
			again := next + approvalBy("next", "again", "fabric_identity.bob") + approvalBy("next", "admin", "fabric_organization.org2")
			revoked := again + `
resource "fabric_crl" "org2" {
  organization = fabric_organization.org2.handle
  revoke       = { carol = { identity = fabric_identity.carol.name, reason = "privilegewithdrawn" } }
}
`
			released := []string{"kv_1.0", "kv_2.0"}
			third := func(approvals string) string { return kv("3.0", "2.0", good("3.0", "2.0"), approvals) }
			steps = append(steps,
				// The first release once more: its approvals were good, and it is over.
				refuses(kv("1.0", "1.0", good("1.0", "1.0"), approvals("first", "put", "bob", "carol")), next, `sequence is 1 and not 4`, released...),
				refuses(third(both), more+proposedRelease("next", "3.0", "2.0", "1ms"), `The proposal of the release expired`, released...),
				[]resource.TestStep{ // What was approved is not released before somebody asks for it.
					{PreConfig: untouched(released...), Config: c.with(kv("2.0", "2.0", good("2.0", "2.0"), both), next), ConfigStateChecks: sequence(3, "kv_2.0"), Check: w.kept(true)},
				},
				// One person with two certificates.
				refuses(third(approvals("next", "put", "bob", "again")), again, `2 people have to approve.*1 did: bob of Org2MSP`, released...),
				[]resource.TestStep{
					{PreConfig: untouched(released...), Config: c.with(kv("2.0", "2.0", good("2.0", "2.0"), both), revoked), ConfigStateChecks: sequence(3, "kv_2.0"), Check: w.kept(true)},
				},
				refuses(third(approvals("next", "put", "again", "carol")), revoked, `carol of Org2MSP does not act on channel trade: the certificate of carol is revoked`, released...),
				[]resource.TestStep{{
					PreConfig:         untouched(released...),
					Config:            c.with(third(approvals("next", "put", "again", "admin")), revoked),
					Check:             resource.ComposeTestCheckFunc(c.recorded("next", 4, "admin", "bob"), c.answers(t, "2.0", "version"), w.kept(false)),
					ConfigStateChecks: sequence(4, "kv_3.0"),
				}},
			)
			resource.Test(t, resource.TestCase{
				ProtoV6ProviderFactories: factories,
				CheckDestroy:             nothingLeft(t, c.name),
				Steps:                    slices.Concat(steps...),
			})
		})
	}
}
