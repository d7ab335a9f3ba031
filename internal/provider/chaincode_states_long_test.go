package provider

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// party is an organization with a folder and a state of its own. All that it has of the other party are the
// outputs that were handed over, in a file.
type party struct {
	*workspace
	config string
}

// partyOn gives a party whose resources are destroyed in the end, before those of the parties that were there.
func partyOn(t *testing.T, binary string) *party {
	t.Helper()
	p := &party{newWorkspace(t, binary), "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n"}
	p.env = append(p.env, "TF_LOG=off")
	t.Cleanup(func() { p.run("destroy", "-auto-approve") })
	return p
}

// want adds to the configuration for good.
func (p *party) want(text string) { p.config += text }

// apply applies the configuration with the rest, after which there is nothing left to do.
func (p *party) apply(rest ...string) {
	p.t.Helper()
	p.write("main.tf", p.config+strings.Join(rest, "\n"))
	p.run("apply", "-auto-approve")
	p.run("plan", "-detailed-exitcode")
}

// refuses plans the configuration with the rest, which must fail and say these words.
func (p *party) refuses(rest string, words ...string) {
	p.t.Helper()
	p.write("main.tf", p.config+rest)
	p.said(p.fail("plan"), words...)
}

// warns plans the configuration with the rest, which must say these words and do nothing.
func (p *party) warns(rest string, words ...string) {
	p.t.Helper()
	p.write("main.tf", p.config+rest)
	out, err := p.do("plan")
	if err != nil {
		p.t.Fatal(err, out)
	}
	p.said(out, words...)
}

func (p *party) said(out string, words ...string) {
	p.t.Helper()
	said := plainText(out)
	for _, w := range words {
		if !strings.Contains(said, w) {
			p.t.Errorf("the plan does not say %q:\n%s", w, said)
		}
	}
}

// handTo hands the outputs over.
func (p *party) handTo(other *party) {
	p.t.Helper()
	out, err := p.do("output", "-json")
	if err != nil {
		p.t.Fatal(err, out)
	}
	other.write("handed.json", out)
}

// nodesOf is an organization with a peer whose image can build chaincode in Go.
func nodesOf(org, image string) string {
	return fmt.Sprintf(`
resource "fabric_peer" %[1]q {
  organization        = fabric_organization.%[1]s.handle
  name                = "peer0.%[1]s"
  image               = %[2]q
  deletion_protection = false
  config = {
    chaincode = {
      externalBuilders = [
        { name = "ccaas_builder", path = "/opt/hyperledger/ccaas_builder", propagateEnvironment = ["CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"] },
        { name = "golang_builder", path = "/opt/golang_builder" },
      ]
    }
  }
}
`, org, image)
}

// TestLongChaincodeOfTwoStates: org1 releases a chaincode from its state, and org2 approves it from another one,
// in another folder. What they hand each other are texts. A person of org1 proposes, one of org2 approves, and
// both organizations insist on that: for a chaincode with servers, and for source that their peers build.
func TestLongChaincodeOfTwoStates(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"3.1.1", "2.5.9"} {
		t.Run(version, func(t *testing.T) { releaseAcrossStates(t, version) })
	}
}

func releaseAcrossStates(t *testing.T, version string) {
	binary, name := terraformUnderTest(t), networkName(t)
	partners := name + "-partners"
	sweepNetwork(t, name)
	sweepNetwork(t, partners)
	t.Cleanup(func() {
		for _, n := range []string{name, partners} {
			if err := nothingLeft(t, n)(nil); err != nil {
				t.Error(err)
			}
		}
	})
	source := newGoSource(t)
	source.version("2.0")
	image := peerWithGo(t, version, source) // it goes when the peers have gone
	org1, org2 := partyOn(t, binary), partyOn(t, binary)
	c := consortium{name: name}

	org1.want(plainOrganizations(name, version, "orderer", "org1") + nodesOf("org1", image) + `
locals {
  org2 = fileexists("handed.json") ? jsondecode(file("handed.json")) : null
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

output "orderers" {
  value = { orderer0 = {
    address               = "127.0.0.1:${fabric_orderer_cluster.this.nodes["orderer0"].port}"
    tls_root_certificates = fabric_organization.orderer.definition.tls_root_certificates
    tls_server_name       = "orderer0.example.com"
  } }
}
`)
	org1.apply()
	org2.want(strings.Replace(plainOrganizations(name, version, "org2"), `domain = "example.com"`, "domain = \"example.com\"\n  existing = true", 1) + nodesOf("org2", image) + `
locals {
  org1 = jsondecode(file("handed.json"))
}

output "definition" {
  value = fabric_organization.org2.definition
}
`)
	org1.handTo(org2)
	org2.apply()
	org2.handTo(org1)
	org1.want(fmt.Sprintf(`
resource "fabric_network" "partners" {
  name = %q
}

resource "fabric_organization" "org2" {
  msp_id  = "Org2MSP"
  network = fabric_network.partners.handle
  certificates = {
    root     = local.org2.definition.value.root_certificates
    tls_root = local.org2.definition.value.tls_root_certificates
  }
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  max_message_count = 1
  organizations = {
%s  }
  self_managed_organizations = ["org2"]
  deletion_protection        = false
}
`, partners, member("org1", "{ peer0 = fabric_peer.org1.handle }")+member("org2", "{}")))
	org1.apply()

	// The chaincode that keeps the records, which both organizations run.
	const audit = `
resource %q "audit" {
  channel            = %s.handle
  name               = "audit"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
}
`
	org2.want(`
resource "fabric_channel_membership" "trade" {
  channel             = "trade"
  organization        = fabric_organization.org2.handle
  definition          = fabric_organization.org2.definition
  peers               = { peer0 = fabric_peer.org2.handle }
  orderers            = local.org1.orderers.value
  deletion_protection = false
}
` + fmt.Sprintf(audit, "fabric_chaincode_approval", "fabric_channel_membership.trade"))
	org2.apply()
	org1.want(fmt.Sprintf(audit, "fabric_chaincode", "fabric_channel.trade") + `
resource "fabric_identity" "alice" {
  organization = fabric_organization.org1.handle
  name         = "alice"
}
`)
	org2.want(`
resource "fabric_identity" "bob" {
  organization = fabric_organization.org2.handle
  name         = "bob"
}
`)
	// What alice proposes and bob approves, by the name of the release.
	proposes := func(release, version, packageID, image string) string {
		return fmt.Sprintf(`
resource "fabric_release_proposal" %[1]q {
  channel    = fabric_channel.trade.handle
  name       = "kv"
  version    = %[2]q
  package_id = %[3]q
  proposer   = fabric_identity.alice.handle
  %[4]s
}

output "proposal_%[1]s" {
  value = fabric_release_proposal.%[1]s.proposal
}
`, release, version, packageID, image)
	}
	approves := func(release string) string {
		return fmt.Sprintf(`
resource "fabric_release_approval" %[1]q {
  proposal = local.org1.proposal_%[1]s.value
  approver = fabric_identity.bob.handle
}

output "approval_%[1]s" {
  value = fabric_release_approval.%[1]s.approval
}
`, release)
	}
	// The chaincode on either side, with who has to approve it.
	const people = `approvals = {
    proposal = %s
    required = 1
    given    = { %s }
    audit    = { chaincode = %s.audit.handle, identity = fabric_organization.%s.handle }
  }`
	commits := func(release, what, given string) string {
		return fmt.Sprintf("\nresource \"fabric_chaincode\" \"kv\" {\n  channel = fabric_channel.trade.handle\n  name = \"kv\"\n  %s\n  %s\n}\n", what,
			fmt.Sprintf(people, "fabric_release_proposal."+release+".proposal", given, "fabric_chaincode", "org1"))
	}
	agrees := func(release, what, given string) string {
		return fmt.Sprintf("\nresource \"fabric_chaincode_approval\" \"kv\" {\n  channel = fabric_channel_membership.trade.handle\n  name = \"kv\"\n  %s\n  %s\n}\n", what,
			fmt.Sprintf(people, "local.org1.proposal_"+release+".value", given, "fabric_chaincode_approval", "org2"))
	}
	byBob := func(release string) string { return "bob = local.org2.approval_" + release + ".value" }
	byBobHere := func(release string) string { return "bob = fabric_release_approval." + release + ".approval" }
	serves := func(want string) {
		t.Helper()
		for _, peer := range []string{"peer0.org1", "peer0.org2"} {
			if err := c.answers(t, peer, want, "version")(nil); err != nil {
				t.Error(err)
			}
		}
	}

	// Servers.
	_, packageID, err := network.ChaincodePackage("trade", "kv_1.0", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	served := `version = "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }`
	org1.want(proposes("first", "1.0", packageID, `image = "fabricops/kv-chaincode:1.0"`))
	org1.apply()
	org1.handTo(org2)
	org1.warns("\nresource \"fabric_chaincode\" \"kv\" {\n  channel = fabric_channel.trade.handle\n  name = \"kv\"\n  "+served+"\n}\n",
		"Approvals are missing for the commit of chaincode kv", "the approval is missing of Org2MSP")
	org2.want(approves("first"))
	org2.refuses(agrees("first", served, ""), "Release that was not approved", "with fabric_chaincode_approval.kv", "1 person has to approve")
	org2.apply(agrees("first", served, byBobHere("first")))
	org2.handTo(org1)
	org1.refuses(commits("first", served, ""), "Release that was not approved", "with fabric_chaincode.kv", "1 person has to approve")
	org1.apply(commits("first", served, byBob("first")))
	serves("1.0")
	org2.apply(agrees("first", served, byBobHere("first")))

	// Source that the peers build, each from a folder of its own.
	if err := os.CopyFS(filepath.Join(org2.dir, "kv"), os.DirFS(source.folder)); err != nil {
		t.Fatal(err)
	}
	packageID, err = lifecycle.Source{Label: "kv_2.0", Type: lifecycle.TypeGolang, Folder: source.folder}.ID()
	if err != nil {
		t.Fatal(err)
	}
	built := func(folder string) string {
		return fmt.Sprintf("version = \"2.0\"\n  package = { type = \"golang\", path = %q }", folder)
	}
	org1.want(proposes("second", "2.0", packageID, ""))
	org1.apply(commits("first", served, byBob("first")))
	org1.handTo(org2)
	org2.want(approves("second"))
	org2.refuses(agrees("first", built("kv"), byBobHere("first")), "Release that was not approved", "version is 1.0 and not 2.0")
	org2.apply(agrees("second", built("kv"), byBobHere("second")))
	serves("1.0")
	org2.handTo(org1)
	org1.apply(commits("second", built(source.folder), byBob("second")))
	serves("2.0")
	org2.apply(agrees("second", built("kv"), byBobHere("second"))) // the earlier servers go
	org1.run("plan", "-detailed-exitcode")
	serves("2.0")
}

// Policies by reference to those of the channel: what no peer can endorse, and a collection where any may.
const (
	byReference = `endorsement_policy = "/Channel/Application/Admins"
  collections = {
    own = { member_policy = "OR('Org1MSP.member')", endorsement_policy = "/Channel/Application/Endorsement", max_peer_count = 1 }
  }`
	callsByReference = `
resource "fabric_transaction" "refused" {
  chaincode               = fabric_chaincode.kv.handle
  identity                = fabric_organization.org1.handle
  function                = "put"
  arguments               = ["colour", "blue"]
  endorsing_organizations = ["Org1MSP"]
  expected_status         = "ENDORSEMENT_POLICY_FAILURE"
}

resource "fabric_transaction" "private" {
  chaincode               = fabric_chaincode.kv.handle
  identity                = fabric_organization.org1.handle
  function                = "putPrivate"
  arguments               = ["own", "colour"]
  transient_wo            = { value = "blue" }
  transient_wo_version    = "1"
  endorsing_organizations = ["Org1MSP"]
}
`
)

// TestLongChaincodeMoved applies a plan after somebody else has released the chaincode: nothing is approved
// under a sequence that nobody has seen, and the next plan starts from what is there.
func TestLongChaincodeMoved(t *testing.T) {
	requireLong(t)
	c := contracts{name: networkName(t)}
	w := acceptanceWorkspace(t, c.name)
	write := func(version string) {
		w.write("main.tf", "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n"+restingConfig(c.name, "running", "running", release(version, "1.0", byReference))+callsByReference)
	}
	write("1.0")
	w.run("apply", "-auto-approve")
	write("2.0")
	w.run("plan", "-out=stale")
	c.upgradeBehindOurBack(t)
	said := plainText(w.fail("apply", "stale"))
	for _, words := range []string{"the plan gave chaincode kv the sequence 2, and by now it would be 3", "plan again"} {
		if !strings.Contains(strings.ToLower(said), words) {
			t.Errorf("it does not say %q:\n%s", words, said)
		}
	}
	committed := func() lifecycle.Definition {
		t.Helper()
		f := reads(t)
		spec, err := f.FindChaincode(t.Context(), c.name, "trade", "kv")
		if err != nil {
			t.Fatal(err)
		}
		state, err := f.ReadChaincode(t.Context(), network.ChaincodeHandle(spec.Channel, "kv"))
		if err != nil {
			t.Fatal(err)
		}
		return *state.Committed
	}
	if d := committed(); d.Sequence != 2 || d.Version != "9.9" {
		t.Errorf("the stale plan has made %s as sequence %d", d.Version, d.Sequence)
	}
	w.run("apply", "-auto-approve")
	w.run("plan", "-detailed-exitcode")
	if d := committed(); d.Sequence != 3 || d.Version != "2.0" {
		t.Errorf("the next plan has made %s as sequence %d", d.Version, d.Sequence)
	}
}
