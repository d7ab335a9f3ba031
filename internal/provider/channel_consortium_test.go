package provider

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// handedOver are updates and signatures as they pass between states, in base64, made without any network.
type handedOver struct {
	// batch sets max_message_count to 42, other to 43, expired is batch with another expiry.
	batch, other, expired string
	// signature is one of batch.
	signature string
	// root is that of Org1MSP, orderer a certificate from it for orderer0.example.com.
	root, orderer string
}

func newHandedOver(t *testing.T) handedOver {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "ca.org1", Validity: time.Hour})
	must(err)
	text := string(root.CertificatePEM())
	definition := msp.Definition{ID: "Org1MSP", RootCertificates: []string{text}, TLSRootCertificates: []string{text}}
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	must(err)
	leaf, err := certificate.Issue(root, certificate.LeafRequest{
		CommonName: "orderer0.example.com", OUs: []string{msp.OUAdmin}, Hosts: []string{"orderer0.example.com"}, Server: true, Client: true, Validity: time.Hour, PublicKey: key.Public(),
	})
	must(err)
	pem := string(certificate.EncodeCertificate(leaf))
	block, err := configtx.Genesis(configtx.Channel{
		Name:                     "trade",
		OrdererOrganizations:     []configtx.OrdererOrganization{{Definition: definition, Endpoints: []string{"orderer0.example.com:7050"}}},
		ApplicationOrganizations: []configtx.ApplicationOrganization{{Definition: definition}},
		Consenters:               []configtx.Consenter{{Host: "orderer0.example.com", Port: 7050, ClientTLSCertPEM: pem, ServerTLSCertPEM: pem}},
	})
	must(err)
	base, err := configtx.Decode(block)
	must(err)
	update := func(count uint32, expires time.Time) []byte {
		to := base.Clone()
		must(to.SetBatch(configtx.Batch{MaxMessageCount: count}))
		update, err := configtx.Propose(base, to, expires)
		must(err)
		raw, err := configtx.MarshalUpdate(update)
		must(err)
		return raw
	}
	batch := update(42, time.Now().Add(time.Hour))
	signature, err := configtx.SignUpdate(batch, &msp.Identity{ID: "Org1MSP", CertificatePEM: []byte(pem), Key: key})
	must(err)
	signed, err := proto.Marshal(signature)
	must(err)
	code := base64.StdEncoding.EncodeToString
	return handedOver{
		batch: code(batch), other: code(update(43, time.Now().Add(time.Hour))), expired: code(update(42, time.Now().Add(-time.Hour))),
		signature: code(signed), root: text, orderer: pem,
	}
}

// TestConsortiumWiring plans what organizations share from values that are not known yet, and shows in the
// plan what is going to be signed.
func TestConsortiumWiring(t *testing.T) {
	requireTerraform(t)
	h := newHandedOver(t)
	resource.UnitTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		Steps: []resource.TestStep{{
			Config: nowhere + handles + hidden("given", `{
    orderers = { orderer0 = { address = "127.0.0.1:7050", tls_root_certificates = ["pem"] } }
    peers    = { peer0 = local.peer1 }
    org      = local.org1
    defined  = local.defined1
    channel  = local.channel
    text     = "trade"
    texts    = { a = "b" }
    number   = 10
    list     = ["a"]
  }`) + fmt.Sprintf(`
locals { given = terraform_data.given.output }

resource "fabric_channel_membership" "hidden" {
  channel      = local.given.text
  organization = local.given.org
  definition   = local.given.defined
  peers        = local.given.peers
  anchor_peers = local.given.list
  orderers     = local.given.orderers
}

resource "fabric_channel_membership" "parts" {
  channel      = "trade"
  organization = local.org1
  definition   = local.given.defined
  peers        = { peer0 = local.given.peers.peer0 }
  anchor_peers = ["peer0"]
  orderers     = { orderer0 = local.given.orderers.orderer0, orderer1 = { address = local.given.text, tls_root_certificates = local.given.list } }
}

resource "fabric_channel_proposal" "hidden" {
  channel = fabric_channel_membership.parts.handle
  change = {
    max_message_count         = local.given.number
    add_organizations         = { org3 = local.given.defined }
    add_orderer_organizations = { org3 = { definition = local.given.defined, endpoints = local.given.list } }
    add_consenter             = { address = local.given.text, tls_certificate = local.given.text }
    acls                      = local.given.texts
  }
}

resource "fabric_channel_proposal" "typed" {
  orderers     = local.given.orderers
  channel_name = local.given.text
  organization = local.given.org
  given_update = local.given.text
}

resource "fabric_channel_signature" "chained" {
  channel      = local.given.channel
  organization = local.given.org
  update       = fabric_channel_proposal.hidden.update
}

resource "fabric_channel_signature" "read" {
  channel         = local.channel
  organization    = local.org1
  update          = %[1]q
  expected_digest = local.given.text
}

resource "fabric_channel_submission" "read" {
  channel      = local.channel
  organization = local.org1
  update       = %[1]q
  signatures   = { org1 = %[2]q, org2 = fabric_channel_signature.chained.signature }
}
`, h.batch, h.signature),
			PlanOnly: true, ExpectNonEmptyPlan: true,
			ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPreRefresh: []plancheck.PlanCheck{
				plancheck.ExpectKnownValue("fabric_channel_membership.parts", tfjsonpath.New("handle").AtMapKey("kind"), knownvalue.StringExact("channel_membership")),
				plancheck.ExpectKnownValue("fabric_channel_membership.parts", tfjsonpath.New("handle").AtMapKey("msp_id"), knownvalue.StringExact("Org1MSP")),
				plancheck.ExpectUnknownValue("fabric_channel_proposal.hidden", tfjsonpath.New("update")),
				plancheck.ExpectKnownValue("fabric_channel_signature.read", tfjsonpath.New("changes").AtSliceIndex(0), knownvalue.StringExact("batch max_message_count 42, batch absolute_max_bytes 10485760, batch preferred_max_bytes 2097152 [mod_policy Admins]")),
				plancheck.ExpectKnownValue("fabric_channel_signature.read", tfjsonpath.New("base_sequence"), knownvalue.Int64Exact(0)),
				plancheck.ExpectUnknownValue("fabric_channel_signature.read", tfjsonpath.New("signature")),
				plancheck.ExpectKnownValue("fabric_channel_submission.read", tfjsonpath.New("changes"), knownvalue.ListSizeExact(1)),
			}},
		}},
	})
}

func TestConsortiumRefusals(t *testing.T) {
	h := newHandedOver(t)
	t.Run("of memberships", func(t *testing.T) {
		expectRefusals(t, nowhere+handles+`
resource "fabric_channel_membership" "wrong" {
  channel      = "Trade"
  organization = local.org1
  definition   = local.defined2
  peers        = { peer0 = local.peer2, peer1 = local.channel }
  anchor_peers = ["peer9"]
  orderers     = { orderer0 = { address = "orderer0:7050", tls_root_certificates = ["no PEM"] }, orderer1 = {} }
}

resource "fabric_channel_membership" "address" {
  channel      = "trade"
  organization = local.org2
  definition   = local.defined2
  peers        = {}
  orderers     = { orderer0 = { address = "orderer0", tls_root_certificates = [`+fmt.Sprintf("%q", h.root)+`] } }
}

resource "fabric_channel_membership" "nobody" {
  channel      = "trade"
  organization = local.peer1
  definition   = local.defined1
  peers        = {}
  orderers     = {}
}
`,
			`Not a channel name with fabric_channel_membership.wrong`,
			`The definition belongs to Org2MSP, and the organization is Org1MSP.`,
			`At peers["peer0"]: The peer belongs to Org2MSP, and the organization is Org1MSP.`,
			`At peers["peer1"]: This wants the handle of fabric_peer, and got the handle of fabric_channel trade`,
			`There is no peer "peer9" in peers, which are: peer0, peer1.`,
			`Not an address with fabric_channel_membership.address`,
			`At orderers["orderer0"].tls_root_certificates[0]`,
			`At orderers["orderer1"].address: Give the address of the node as host:port.`,
			`At orderers["orderer1"].tls_root_certificates: Give the roots of the node's TLS certificate`,
			`Wrong kind of handle with fabric_channel_membership.nobody`,
			`Attribute orderers map must contain at least 1 elements`,
		)
	})
	t.Run("of one membership twice", func(t *testing.T) {
		expectRefusals(t, nowhere+handles+`
resource "fabric_channel_membership" "twice" {
  for_each     = toset(["a", "b"])
  channel      = "other"
  organization = local.org1
  definition   = local.defined1
  peers        = {}
  orderers     = { orderer0 = { address = "127.0.0.1:7050", tls_root_certificates = [`+fmt.Sprintf("%q", h.root)+`] } }
}
`, `Name used twice with fabric_channel_membership.twice`, `Two resources of this configuration are membership in channel other on network dev.`)
	})
	t.Run("of proposals", func(t *testing.T) {
		expectRefusals(t, nowhere+handles+fmt.Sprintf(`
resource "fabric_channel_proposal" "both" {
  channel      = local.channel
  orderers     = { orderer0 = { address = "127.0.0.1:7050", tls_root_certificates = [%[1]q] } }
  given_update = "nonsense"
  change       = {}
}

resource "fabric_channel_proposal" "alone" {
  orderers  = { orderer0 = { address = "127.0.0.1:7050", tls_root_certificates = [%[1]q] } }
  valid_for = "0s"
  change = {
    batch_timeout        = "soon"
    max_message_count    = 0
    application_policies = { Endorsement = "MOST Endorsement" }
    remove_organizations = ["Org 1"]
    remove_consenter     = "orderer0"
    add_consenter        = { address = "orderer9", tls_certificate = "" }
    channel_capability   = "V2_0"
  }
}
`, h.root),
			`2 attributes specified when one (and only one) of [channel,orderers] is required`,
			`2 attributes specified when one (and only one) of [change,given_update] is required`,
			`Not a config update with fabric_channel_proposal.both`,
			`No channel with fabric_channel_proposal.alone`, `No organization with fabric_channel_proposal.alone`,
			`Not a duration with fabric_channel_proposal.alone`,
			`Attribute change.max_message_count value must be between 1`,
			`Policy that does not parse`, `Not an MSP ID`,
			`Attribute change.channel_capability value must be one of: ["V3_0"]`,
		)
	})
	t.Run("of a partner's broken chain", func(t *testing.T) {
		root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "root", Validity: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := certificate.Issue(root, certificate.LeafRequest{CommonName: "leaf", Client: true, Validity: time.Hour, PublicKey: key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		definition := func(intermediate string) string {
			return fmt.Sprintf(`{ msp_id = "Org3MSP", root_certificates = [%q], intermediate_certificates = [%q], tls_root_certificates = [%q], tls_intermediate_certificates = [], revocation_lists = [] }`,
				h.root, intermediate, h.root)
		}
		expectRefusals(t, nowhere+handles+fmt.Sprintf(`
resource "fabric_channel_proposal" "broken" {
  channel = local.channel
  change = {
    add_organizations         = { org3 = %[1]s }
    add_orderer_organizations = { org3 = { definition = %[2]s, endpoints = ["orderer0.org3:7050"] } }
  }
}

resource "fabric_orderer_cluster" "partnered" {
  organization = local.org1
  nodes        = { orderer1 = {} }
  external_consenters = {
    broken   = { address = "orderer0.example.com:7050", tls_certificate = %[3]q, definition = %[1]s }
    stranger = { address = "orderer9.example.com:7050", tls_certificate = %[3]q, definition = merge(local.defined1, { root_certificates = [%[4]q], tls_root_certificates = [%[4]q] }) }
    whole    = { address = "orderer0.example.com:7050", tls_certificate = %[3]q, definition = merge(local.defined1, { root_certificates = [%[4]q], tls_root_certificates = [%[4]q] }) }
  }
}
`, definition(string(root.CertificatePEM())), definition(string(certificate.EncodeCertificate(leaf))), h.orderer, h.root),
			`Definition that makes no MSP with fabric_channel_proposal.broken`,
			`At change.add_organizations["org3"]: Unable to use the MSP Org3MSP`,
			`At change.add_orderer_organizations["org3"].definition: Unable to use the MSP Org3MSP`,
			`Definition that makes no MSP with fabric_orderer_cluster.partnered`,
			`Not a certificate of this node with fabric_orderer_cluster.partnered`, `It must be for the host of address, and come from the TLS roots in definition.`,
		)
	})
	t.Run("of signatures and submissions", func(t *testing.T) {
		expectRefusals(t, nowhere+handles+`
resource "fabric_channel_signature" "damaged" {
  channel      = local.channel
  organization = local.peer1
  update       = "bm90IGFuIHVwZGF0ZQ=="
}
`,
			`Not a config update with fabric_channel_signature.damaged`, `Wrong kind of handle with fabric_channel_signature.damaged`,
		)
		expectRefusals(t, nowhere+handles+strings.NewReplacer("EXPIRED", h.expired, "BATCH", h.batch, "OTHER", h.other, "SIGNATURE", h.signature).Replace(`
resource "fabric_channel_signature" "expired" {
  channel      = merge(local.channel, { name = "other" })
  organization = local.org1
  update       = "EXPIRED"
}

resource "fabric_channel_signature" "unexpected" {
  channel         = local.channel
  organization    = local.org1
  update          = "BATCH"
  expected_digest = "0000"
}

resource "fabric_channel_submission" "wrong" {
  channel      = local.channel
  organization = local.org1
  update       = "OTHER"
  signatures   = { org1 = "SIGNATURE", org2 = "%" }
}

resource "fabric_channel_submission" "expired" {
  channel      = local.channel
  organization = local.org1
  update       = "EXPIRED"
}
`),
			`Expired update with fabric_channel_signature.expired`, `terraform apply -replace=ADDRESS of the fabric_channel_proposal`,
			`Update of another channel with fabric_channel_signature.expired`, `The update is one of channel trade, and channel names channel other.`,
			`Another update with fabric_channel_signature.unexpected`,
			`Not a signature of this update with fabric_channel_submission.wrong`, `At signatures["org1"]: The signature of org1`, `the signature is not one of this update`,
			`At signatures["org2"]: Illegal base64`,
			`Expired update with fabric_channel_submission.expired`,
		)
	})
}
