package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// authority is a configuration of a network with one CA, one organization and two identities, one of
// them in a directory.
type authority struct {
	network, directory string
	// ofNetwork, ofCA, ofAlice and ofBob are further attributes.
	ofNetwork, ofCA, ofAlice string
	// without leaves out everything but the network and the CA.
	without bool
}

const (
	caAddress           = "fabric_ca.org1"
	organizationAddress = "fabric_organization.org1"
	aliceAddress        = "fabric_identity.alice"
	bobAddress          = "fabric_identity.bob"
)

func (a authority) String() string {
	config := fmt.Sprintf(`
resource "fabric_network" "this" {
  name   = %q
  domain = "example.com"
  %s
}

resource "fabric_ca" "org1" {
  network      = fabric_network.this.handle
  name         = "ca.org1"
  organization = "org1"
  %s
}
`, a.network, a.ofNetwork, a.ofCA)
	if a.without {
		return config
	}
	return config + fmt.Sprintf(`
resource "fabric_organization" "org1" {
  msp_id = "Org1MSP"
  ca     = fabric_ca.org1.handle
}

resource "fabric_identity" "alice" {
  organization = fabric_organization.org1.handle
  name         = "alice"
  %s
}

resource "fabric_identity" "bob" {
  organization = fabric_organization.org1.handle
  name         = "bob"
  directory    = %q
}
`, a.ofAlice, a.directory)
}

// TestAccCA takes a CA and all that hangs on it through its life.
func TestAccCA(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	server := &caServer{t: t, network: name, name: "ca.org1"}
	seen := &remembered{t: t}
	a := authority{network: name, directory: t.TempDir() + "/bob"}
	with := func(change func(*authority)) string {
		change(&a)
		return a.String()
	}
	untouched := resource.ComposeAggregateTestCheckFunc(
		seen.same("ca", caAddress, "certificate"), seen.same("tls", caAddress, "tls_certificate"),
		seen.same("port", caAddress, "port"), seen.same("admin", organizationAddress, "admin_certificate"),
		server.knows("alice", "bob", "admin"),
	)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: with(func(a *authority) {
					a.ofCA = `
  common_name            = "Org1 CA"
  key_algorithm          = "ecdsa-p384"
  validity_years         = 3
  affiliations           = ["org1.sales"]
  identity_validities    = ["720h", "168h"]
  advertised_address     = "ca.public.example.com:7054"
  sans                   = ["10.1.2.3", "other"]
`
					a.ofAlice = `
  type        = "client"
  affiliation = "org1.sales"
  attributes  = { rank = "high", desk = "7" }
`
				}),
				Check: resource.ComposeAggregateTestCheckFunc(
					seen.take("ca", caAddress, "certificate"), seen.take("tls", caAddress, "tls_certificate"),
					seen.take("port", caAddress, "port"), seen.take("admin", organizationAddress, "admin_certificate"),
					seen.take("alice", aliceAddress, "certificate"), seen.take("bob", bobAddress, "certificate"),
					resource.TestCheckResourceAttr(caAddress, "endpoint", "ca.public.example.com:7054"),
					resource.TestCheckResourceAttr(caAddress, "status", "running"),
					resource.TestMatchResourceAttr(caAddress, "image_id", regexp.MustCompile("^sha256:[0-9a-f]{64}$")),
					server.rootsAsAskedFor,
					server.listenerServes("ca.org1.example.com", "ca.org1", "localhost", "127.0.0.1", "ca.public.example.com", "10.1.2.3", "other"),
					server.operationsWantACertificate,
					server.registriesAreSeparate,
					server.publishesOnLoopbackOnly,
					hardened(t, name+"-ca.org1"),
					untouched,
					certified(aliceAddress, "client", map[string]string{"rank": "high", "desk": "7"}, 365*day),
					mspFolder(t, a.directory),
				),
			},
			// Each of the four is imported as it is, and a plan with the imported one is empty.
			{ResourceName: caAddress, ImportState: true, ImportStateId: name + "/ca.org1", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name"},
			{ResourceName: organizationAddress, ImportState: true, ImportStateId: name + "/Org1MSP", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "msp_id"},
			{ResourceName: aliceAddress, ImportState: true, ImportStateId: name + "/Org1MSP/alice", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name"},
			{ResourceName: caAddress, ImportState: true, ImportStateId: name + "/ca.org1", ImportStateKind: resource.ImportBlockWithID},
			{ResourceName: organizationAddress, ImportState: true, ImportStateId: name + "/Org1MSP", ImportStateKind: resource.ImportBlockWithID},
			{ResourceName: aliceAddress, ImportState: true, ImportStateId: name + "/Org1MSP/alice", ImportStateKind: resource.ImportBlockWithID},
			{ResourceName: aliceAddress, ImportState: true, ImportStateId: name + "/Org1MSP/nobody", ExpectError: tells("no identity nobody of Org1MSP")},
			{ResourceName: caAddress, ImportState: true, ImportStateId: "ca.org1", ExpectError: tells("must be NETWORK/NAME")},
			{ // in place: how it runs, and what it issues from now on
				Config: with(func(a *authority) {
					a.ofCA = `
  common_name               = "Org1 CA"
  key_algorithm             = "ecdsa-p384"
  validity_years            = 3
  certificate_validity      = "2160h"
  identity_validities       = ["720h"]
  affiliations              = ["org1.hr"]
  sans                      = ["third"]
  image                     = "` + imageID(t, "hyperledger/fabric-ca:1.5.13") + `"
  labels                    = { team = "platform" }
  limits                    = { memory_mib = 256, pids = 128, cpus = 1 }
  log                       = { driver = "json-file", options = { max-size = "10m" } }
`
					a.ofAlice = `
  type          = "admin"
  affiliation   = "org1.hr"
  attributes    = { rank = "low" }
  validity      = "720h"
`
				}),
				ConfigPlanChecks: onlyUpdated(caAddress, aliceAddress),
				Check: resource.ComposeAggregateTestCheckFunc(
					untouched, seen.same("bob", bobAddress, "certificate"), seen.another("alice", aliceAddress, "certificate"),
					seen.sameKey("alice", aliceAddress, "certificate"),
					certified(aliceAddress, "admin", map[string]string{"rank": "low"}, 30*day),
					resource.TestCheckResourceAttr(caAddress, "endpoint", "ca.org1.example.com:7054"),
					server.listenerServes("third", "ca.org1.example.com"), server.listenerServesNot("other"),
					server.affiliations("ca", "org1", "org1.hr", "org1.sales"), // alice left it only later
					server.affiliations("tls", "org1", "org1.hr"),
					server.runsWith("platform", 256<<20, 128),
					hardened(t, name+"-ca.org1"),
				),
			},
			{ // the second plan of a stopped CA is empty, and its identities stay
				Config: with(func(a *authority) {
					a.ofCA = strings.Replace(a.ofCA, "labels ", "desired_state = \"stopped\"\n  labels ", 1)
				}),
				ConfigPlanChecks: onlyUpdated(caAddress),
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttr(caAddress, "status", "stopped"), server.is(engine.Stopped),
					seen.same("port", caAddress, "port"), resource.TestCheckResourceAttrSet(aliceAddress, "certificate"),
				),
			},
			{ // what was set is taken out again
				Config: with(func(a *authority) {
					a.ofCA = `
  common_name    = "Org1 CA"
  key_algorithm  = "ecdsa-p384"
  validity_years = 3
`
					a.ofAlice = ""
				}),
				ConfigPlanChecks: onlyUpdated(caAddress, aliceAddress),
				Check: resource.ComposeAggregateTestCheckFunc(
					untouched, seen.sameKey("alice", aliceAddress, "certificate"), server.listenerServesNot("third"),
					certified(aliceAddress, "client", map[string]string{}, 365*day),
					resource.TestCheckNoResourceAttr(aliceAddress, "affiliation"),
					seen.take("alice", aliceAddress, "certificate"),
				),
			},
			{ // a stopped container
				PreConfig:        server.stop,
				Config:           a.String(),
				ConfigPlanChecks: onlyUpdated(caAddress),
				Check:            resource.ComposeAggregateTestCheckFunc(untouched, server.is(engine.Running), seen.same("alice", aliceAddress, "certificate")),
			},
			{ // no container and no keepers, while keys of identities are gone
				PreConfig: func() {
					eraseKeys(t, name+"-Org1MSP-keys", "identities/alice/key.pem")
					eraseDirectoryKey(t, a.directory)
					removeNodes(t, func(n engine.Node) bool { return strings.HasPrefix(n.Name, name+"-") })
				},
				Config:           a.String(),
				ConfigPlanChecks: onlyUpdated(caAddress, aliceAddress, bobAddress),
				Check: resource.ComposeAggregateTestCheckFunc(
					untouched, server.is(engine.Running), seen.another("alice", aliceAddress, "certificate"), mspFolder(t, a.directory),
					seen.take("alice", aliceAddress, "certificate"), seen.take("bob", bobAddress, "certificate"),
				),
			},
			{ // no network either
				PreConfig: func() {
					server.stop()
					removeNetwork(t, name)
				},
				Config:           a.String(),
				ConfigPlanChecks: onlyUpdated("fabric_network.this", caAddress),
				Check:            resource.ComposeAggregateTestCheckFunc(untouched, server.is(engine.Running), seen.same("alice", aliceAddress, "certificate")),
			},
			{ // a running container that was taken off its network
				PreConfig: func() {
					disconnect(t, name, name+"-ca.org1")
					removeNetwork(t, name)
				},
				Config:           a.String(),
				ConfigPlanChecks: onlyUpdated("fabric_network.this", caAddress),
				Check:            resource.ComposeAggregateTestCheckFunc(untouched, server.is(engine.Running)),
			},
			{ // an identity that the CA does not know any more is made again
				PreConfig: func() { server.forget("alice") },
				Config:    a.String(),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(aliceAddress, plancheck.ResourceActionCreate),
					plancheck.ExpectResourceAction(bobAddress, plancheck.ResourceActionNoop),
					plancheck.ExpectResourceAction(caAddress, plancheck.ResourceActionNoop),
				}},
				Check: resource.ComposeAggregateTestCheckFunc(untouched, seen.another("alice", aliceAddress, "certificate")),
			},
			{ // what somebody changed at the CA is changed back
				PreConfig:        func() { server.promote("alice") },
				Config:           a.String(),
				ConfigPlanChecks: onlyUpdated(aliceAddress),
				Check:            certified(aliceAddress, "client", map[string]string{}, 365*day),
			},
			{ // a registration of somebody else
				PreConfig: func() { server.register("carol") },
				Config: a.String() + `
resource "fabric_identity" "carol" {
  organization = fabric_organization.org1.handle
  name         = "carol"
}
`,
				ExpectError: tells("Unable to create identity carol", "carol is registered at CA ca.org1 already, and not by this provider"),
			},
			{ // a validity that the CA does not have
				Config:      with(func(a *authority) { a.ofAlice = `validity = "720h"` }),
				ExpectError: tells("Validity that the CA does not issue", "CA ca.org1 issues no certificates of 720h, but of 8760h"),
			},
			{Config: with(func(a *authority) { a.ofAlice = "" }), Destroy: true, ExpectError: tells("Protected from deletion", "deletion_protection = false")},
			{ // another subject would be another CA
				Config:      with(func(a *authority) { a.ofCA = strings.Replace(a.ofCA, "Org1 CA", "Another CA", 1) }),
				ExpectError: tells("Protected from deletion", "a registry of issued certificates and the keys of two CAs"),
			},
			{ // a CA that merely does not answer keeps its identities
				PreConfig: server.stop,
				Config: with(func(a *authority) {
					a.ofCA = strings.Replace(a.ofCA, "Another CA", "Org1 CA", 1) + "\n  deletion_protection = false\n"
				}),
				Check: server.knows("alice", "bob"),
			},
			{
				PreConfig:   server.stop,
				Config:      a.String(),
				Destroy:     true,
				ExpectError: tells("Unable to delete identity", "CA ca.org1 does not answer, its container is stopped"),
			},
			{
				PreConfig: func() { foreignFile(t, a.directory) },
				Config:    a.String(),
				Check:     server.knows("alice", "bob"),
			},
			{Config: a.String(), Destroy: true, Check: onlyForeignFile(t, a.directory)},
		},
	})
}

// TestAccLostCA: a CA whose database or keys are gone is never begun anew unless that is accepted.
func TestAccLostCA(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	server := &caServer{t: t, network: name, name: "ca.org1"}
	seen := &remembered{t: t}
	a := authority{network: name, directory: t.TempDir() + "/bob", ofCA: "deletion_protection = false"}
	accepting := a
	accepting.ofCA += "\n  accept_data_loss = true"
	lose := func(volume string) func() {
		return func() {
			removeNodes(t, func(n engine.Node) bool { return n.Name == volume })
			removeVolume(t, volume)
		}
	}
	refusal := tells("The volume is gone", "accept_data_loss")
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: a.String(),
				Check: resource.ComposeAggregateTestCheckFunc(seen.take("ca", caAddress, "certificate"),
					seen.take("definition", organizationAddress, "definition.root_certificates.0"), seen.take("alice", aliceAddress, "certificate")),
			},
			{PreConfig: lose(name + "-ca.org1"), Config: a.String(), ExpectError: refusal},
			{ // the identities of the old CA are made again, the organization keeps its roots until it is replaced
				Config: accepting.String(),
				Check: resource.ComposeAggregateTestCheckFunc(
					seen.another("ca", caAddress, "certificate"), resource.TestCheckResourceAttr(caAddress, "status", "running"),
					seen.same("definition", organizationAddress, "definition.root_certificates.0"),
				),
				ExpectNonEmptyPlan: true, // only now is it seen that the new CA does not know them
			},
			{
				Config: accepting.String(),
				Taint:  []string{organizationAddress},
				Check: resource.ComposeAggregateTestCheckFunc(
					seen.another("definition", organizationAddress, "definition.root_certificates.0"), seen.another("alice", aliceAddress, "certificate"), server.knows("alice", "bob", "admin"), mspFolder(t, a.directory),
				),
			},
			{PreConfig: lose(name + "-ca.org1-keys"), Config: a.String(), ExpectError: refusal},
			{Config: a.String(), Destroy: true, ExpectError: refusal},
			{Config: accepting.String(), Destroy: true}, // identities whose CA is provably gone go without it
		},
	})
}

// TestAccTakenBack: after a lost state the owner_id takes everything back as it is; volumes that were
// kept are taken up again.
func TestAccTakenBack(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	server := &caServer{t: t, network: name, name: "ca.org1"}
	seen := &remembered{t: t}
	a := authority{network: name, directory: t.TempDir() + "/bob", ofNetwork: `owner_id = "0123456789abcdef"`, ofCA: "deletion_protection = false"}
	kept := a
	kept.ofCA += "\n  on_destroy = \"keep\""
	keptAlone := kept
	keptAlone.without = true
	same := resource.ComposeAggregateTestCheckFunc(
		seen.same("ca", caAddress, "certificate"), seen.same("tls", caAddress, "tls_certificate"),
		seen.sameKey("alice", aliceAddress, "certificate"), seen.sameKey("bob", bobAddress, "certificate"),
		seen.same("admin", organizationAddress, "admin_certificate"),
	)
	container := ""
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: a.String(),
				Check: resource.ComposeAggregateTestCheckFunc(
					seen.take("ca", caAddress, "certificate"), seen.take("tls", caAddress, "tls_certificate"),
					seen.take("alice", aliceAddress, "certificate"), seen.take("bob", bobAddress, "certificate"),
					seen.take("admin", organizationAddress, "admin_certificate"), seen.take("port", caAddress, "port"),
					func(*terraform.State) error { container = inspect(t, name+"-ca.org1").ID; return nil },
				),
			},
			{Config: forgotten("fabric_network.this", caAddress, organizationAddress, aliceAddress, bobAddress)},
			{ // without the owner_id it is somebody else's
				Config: authority{network: name}.justNetwork(),
				ExpectError: tells("Unable to create network "+name, `owner_id "0123456789abcdef"`, "set owner_id of fabric_network",
					`import { to = fabric_network.`, `import { to = fabric_ca.ca_org1 id = "`+name+`/ca.org1" }`, `import { to = fabric_identity.Org1MSP_alice id = "`+name+`/Org1MSP/alice" }`),
			},
			{
				Config: a.String(),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(caAddress, plancheck.ResourceActionCreate),
				}},
				Check: resource.ComposeAggregateTestCheckFunc(same, seen.same("port", caAddress, "port"), server.knows("alice", "bob", "admin"),
					func(*terraform.State) error {
						if now := inspect(t, name+"-ca.org1").ID; now != container {
							return errors.New("the container is another one")
						}
						return nil
					}),
			},
			{Config: forgotten(caAddress) + a.justNetwork() + a.rest(), ExpectNonEmptyPlan: false},
			{ // a name that is in use is not taken over just like that
				Config:      strings.Replace(a.String(), "deletion_protection = false", "deletion_protection = false\n  labels = { team = \"x\" }", 1),
				ExpectError: tells("Unable to create CA ca.org1", `import { to = fabric_ca.ca_org1 id = "`+name+`/ca.org1" }`),
			},
			{
				Config: "import {\n  to = fabric_ca.org1\n  id = \"" + name + "/ca.org1\"\n}\n" + kept.String(),
				Check:  same,
			},
			{Config: keptAlone.justNetwork()},
			{ // the CA is the one that it was, though everything around it is new
				Config: kept.String(),
				Check: resource.ComposeAggregateTestCheckFunc(
					seen.same("ca", caAddress, "certificate"), seen.same("tls", caAddress, "tls_certificate"), server.knows("alice", "bob", "admin"),
				),
			},
			{Config: a.String()}, // the last destroy removes the volumes
		},
	})
}

func (a authority) justNetwork() string {
	return fmt.Sprintf("resource \"fabric_network\" \"this\" {\n  name   = %q\n  domain = \"example.com\"\n  %s\n}\n", a.network, a.ofNetwork)
}

// rest is the configuration without the network and the CA, whose handle is written by hand.
func (a authority) rest() string {
	handle := `merge(fabric_network.this.handle, { kind = "ca", name = "ca.org1" })`
	_, rest, _ := strings.Cut(a.String(), "resource \"fabric_organization\"")
	return strings.Replace("resource \"fabric_organization\""+rest, "fabric_ca.org1.handle", handle, 1)
}

// forgotten takes resources out of the state and leaves what they stand for.
func forgotten(addresses ...string) string {
	var b strings.Builder
	for _, address := range addresses {
		fmt.Fprintf(&b, "removed {\n  from = %s\n  lifecycle {\n    destroy = false\n  }\n}\n", address)
	}
	return b.String()
}

// TestAccIntermediateCA: an organization whose certificates come from an intermediate.
func TestAccIntermediateCA(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	server := &caServer{t: t, network: name, name: "ca.org1", root: "ca.root"}
	config := fmt.Sprintf(`
resource "fabric_network" "this" {
  name   = %q
  domain = "example.com"
}

resource "fabric_ca" "root" {
  network             = fabric_network.this.handle
  name                = "ca.root"
  organization        = "Example"
  key_algorithm       = "ecdsa-p384"
  deletion_protection = false
}

resource "fabric_ca" "org1" {
  network             = fabric_network.this.handle
  parent              = fabric_ca.root.handle
  name                = "ca.org1"
  organization        = "org1"
  deletion_protection = false
}

resource "fabric_organization" "org1" {
  msp_id = "Org1MSP"
  ca     = fabric_ca.org1.handle
}

resource "fabric_identity" "alice" {
  organization = fabric_organization.org1.handle
  name         = "alice"
}
`, name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: config,
				Check: resource.ComposeAggregateTestCheckFunc(
					resource.TestCheckResourceAttrPair(organizationAddress, "definition.root_certificates.0", "fabric_ca.root", "certificate"),
					resource.TestCheckResourceAttrPair(organizationAddress, "definition.intermediate_certificates.0", caAddress, "certificate"),
					resource.TestCheckResourceAttrPair(organizationAddress, "definition.tls_root_certificates.0", "fabric_ca.root", "tls_certificate"),
					resource.TestCheckResourceAttrPair(organizationAddress, "definition.tls_intermediate_certificates.0", caAddress, "tls_certificate"),
					resource.TestCheckResourceAttr(organizationAddress, "definition.root_certificates.#", "1"),
					resource.TestCheckNoResourceAttr(caAddress, "validity_years"),
					chainVerifies, server.listenerServes("ca.org1.example.com", "127.0.0.1"), server.knows("alice", "admin"),
				),
			},
			{ResourceName: caAddress, ImportState: true, ImportStateId: name + "/ca.org1", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore: []string{"deletion_protection"}},
			{
				Config: config + `
locals {
  definition = fabric_organization.org1.definition
}

output "chain" {
  value = provider::fabric::verify_chain(fabric_identity.alice.certificate, local.definition.intermediate_certificates, local.definition.root_certificates).valid
}
`,
				Check: resource.TestCheckOutput("chain", "true"),
			},
			{
				Config: config + `
resource "fabric_ca" "below" {
  network      = fabric_network.this.handle
  parent       = fabric_ca.org1.handle
  name         = "ca.below"
  organization = "below"
}
`,
				ExpectError: tells("Unable to create CA ca.below", "CA ca.org1 is an intermediate itself"),
			},
		},
	})
}

func chainVerifies(s *terraform.State) error {
	leaf, err := stateAttribute(s, aliceAddress, "certificate")
	if err != nil {
		return err
	}
	between, err := stateAttribute(s, caAddress, "certificate")
	if err != nil {
		return err
	}
	root, err := stateAttribute(s, "fabric_ca.root", "certificate")
	if err != nil {
		return err
	}
	return certificate.VerifyChain(certificate.VerifyRequest{
		Leaf: []byte(leaf), Intermediates: [][]byte{[]byte(between)}, Roots: [][]byte{[]byte(root)}, Usage: certificate.UsageSigning,
	})
}

// TestAccRefusedCA: whatever cannot be made is refused before anything is.
func TestAccRefusedCA(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	api := dockerClient(t)
	volume := func(volume string, labels map[string]string) func() {
		return func() {
			if _, err := api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: volume, Labels: labels}); err != nil {
				t.Fatal(err)
			}
		}
	}
	after := func(name string, then func()) func() { return func() { removeVolume(t, name); then() } }
	a := authority{network: name, without: true}
	with := func(attributes string) string { a := a; a.ofCA = attributes; return a.String() }
	theirs := map[string]string{engine.LabelOwner: "somebody"}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: a.justNetwork()},
			{
				Config:      with(`image = "127.0.0.1:1/fabricops/absent:0"`),
				ExpectError: tells("Unable to create CA ca.org1", `with fabric_ca.org1`, "image", `image "127.0.0.1:1/fabricops/absent:0"`, "could not be pulled from 127.0.0.1:1"),
			},
			{
				PreConfig:   onlyNetworkIsThere(t, name),
				Config:      with("port = " + port),
				ExpectError: tells("Unable to create CA ca.org1", "port", "host port 127.0.0.1:"+port, "is held by another program"),
			},
			{
				PreConfig:   onlyNetworkIsThere(t, name),
				Config:      with("port = 17999\n  operations_port = 17999"),
				ExpectError: tells("Host port wanted twice", "127.0.0.1:17999"),
			},
			{
				PreConfig:   volume(name+"-ca.org1", nil),
				Config:      with(""),
				ExpectError: tells("Unable to create CA ca.org1", `a volume named "`+name+`-ca.org1" exists that this provider did not make`),
			},
			{
				PreConfig:   after(name+"-ca.org1", volume(name+"-ca.org1-keys", theirs)),
				Config:      with(""),
				ExpectError: tells("Unable to create CA ca.org1", `a volume named "`+name+`-ca.org1-keys"`, `owner_id "somebody"`),
			},
			{PreConfig: func() { removeVolume(t, name+"-ca.org1-keys"); onlyNetworkIsThere(t, name)() }, Config: a.justNetwork()},
		},
	})
}

// onlyNetworkIsThere fails when a refused create left something.
func onlyNetworkIsThere(t *testing.T, name string) func() {
	return func() {
		t.Helper()
		e := localEngine(t)
		labels := map[string]string{engine.LabelNetwork: name}
		nodes, err := e.Nodes(t.Context(), labels)
		if err != nil || len(nodes) > 0 {
			t.Errorf("containers: %v, %v", nodes, err)
		}
		volumes, err := e.Volumes(t.Context(), labels)
		if err != nil || len(volumes) > 0 {
			t.Errorf("volumes: %v, %v", volumes, err)
		}
	}
}

// imageID names an image by its content, where the tests run on an engine.
func imageID(t *testing.T, reference string) string {
	t.Helper()
	if os.Getenv(resource.EnvTfAcc) == "" {
		return reference
	}
	image, err := localEngine(t).ResolveImage(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	return image.ID
}

// caServer is a running Fabric CA server, seen from outside as its registrar sees it.
type caServer struct {
	t             *testing.T
	network, name string
	// root is the CA that certified it, empty for a root.
	root string
}

func (c *caServer) container() string { return c.network + "-" + c.name }

func (c *caServer) address(port int) (string, error) {
	found, err := localEngine(c.t).Node(c.t.Context(), c.container())
	for _, p := range found.Ports {
		if p.Container == port {
			return net.JoinHostPort(p.Address, strconv.Itoa(p.Host)), err
		}
	}
	return "", errors.Join(err, fmt.Errorf("port %d is not published", port))
}

// tlsRoot is what clients know of the server.
func (c *caServer) tlsRoot() []byte {
	root := c.name
	if c.root != "" {
		root = c.root
	}
	return caVolume(c.t, c.network+"-"+root+"-keys")["tls/ca.pem"]
}

// client gives one of the two CAs and its registrar.
func (c *caServer) client(part string) (*ca.Client, *certificate.KeyPair, error) {
	address, err := c.address(ca.DefaultPort)
	if err != nil {
		return nil, nil, err
	}
	keys := caVolume(c.t, c.container()+"-keys")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.tlsRoot())
	host := c.name + ".example.com"
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12},
	}
	c.t.Cleanup(transport.CloseIdleConnections)
	client, err := ca.NewClient("https://"+host+":7054", part, &http.Client{Transport: transport, Timeout: 20 * time.Second})
	if err != nil {
		return nil, nil, err
	}
	registrar, err := certificate.ParseKeyPair(keys[part+"/registrar/cert.pem"], keys[part+"/registrar/key.pem"])
	return client, registrar, err
}

func (c *caServer) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *caServer) knows(ids ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		client, registrar, err := c.client("ca")
		if err != nil {
			return err
		}
		var wrong []error
		for _, id := range ids {
			_, err := client.Identity(c.t.Context(), registrar, id)
			wrong = append(wrong, err)
		}
		return errors.Join(wrong...)
	}
}

// knowsNot checks that both registries have nobody of that name.
func (c *caServer) knowsNot(id string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, part := range []string{"ca", "tls"} {
			client, registrar, err := c.client(part)
			if err != nil {
				return err
			}
			if _, err := client.Identity(c.t.Context(), registrar, id); !errors.Is(err, ca.ErrNotFound) {
				return fmt.Errorf("%s is registered at %s, %v", id, part, err)
			}
		}
		return nil
	}
}

func (c *caServer) forget(id string) {
	client, registrar, err := c.client("ca")
	c.must(err)
	c.must(client.RemoveIdentity(c.t.Context(), registrar, id))
}

func (c *caServer) promote(id string) {
	client, registrar, err := c.client("ca")
	c.must(err)
	_, err = client.ModifyIdentity(c.t.Context(), registrar, id, ca.Modification{Type: "peer", Attributes: []ca.Attribute{{Name: "rank", Value: "low", ECert: true}}})
	c.must(err)
}

func (c *caServer) register(id string) {
	client, registrar, err := c.client("ca")
	c.must(err)
	_, err = client.Register(c.t.Context(), registrar, ca.Registration{ID: id, Type: "client"})
	c.must(err)
}

func (c *caServer) stop() {
	c.t.Helper()
	c.must(localEngine(c.t).StopNode(c.t.Context(), c.container(), 10*time.Second))
}

func (c *caServer) is(want engine.Status) resource.TestCheckFunc {
	return func(*terraform.State) error {
		found, err := localEngine(c.t).Node(c.t.Context(), c.container())
		if err == nil && found.Status != want {
			err = fmt.Errorf("container %s is %s", found.Name, found.Status)
		}
		return err
	}
}

// affiliations are those of one of the two CAs.
func (c *caServer) affiliations(part string, want ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		client, registrar, err := c.client(part)
		if err != nil {
			return err
		}
		got, err := client.Affiliations(c.t.Context(), registrar)
		slices.Sort(got) // siblings come in any order
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("CA %s has the affiliations %v, want %v", part, got, want)
		}
		return err
	}
}

// rootsAsAskedFor checks both roots: subject, algorithm, validity.
func (c *caServer) rootsAsAskedFor(s *terraform.State) error {
	var wrong []error
	for key, commonName := range map[string]string{"certificate": "Org1 CA", "tls_certificate": "tlsOrg1 CA"} {
		text, err := stateAttribute(s, caAddress, key)
		if err != nil {
			return err
		}
		f, err := certificate.ReadFacts([]byte(text))
		if err != nil {
			return err
		}
		notAfter, err := time.Parse(time.RFC3339, f.NotAfter)
		if err != nil {
			return err
		}
		if f.CommonName != commonName || !slices.Equal(f.Organizations, []string{"org1"}) || f.KeyAlgorithm != "ecdsa-p384" || !f.IsCA || f.Subject != f.Issuer {
			wrong = append(wrong, fmt.Errorf("%s is %+v", key, f))
		}
		if left := time.Until(notAfter); left > 3*365*day || left < 3*365*day-time.Hour {
			wrong = append(wrong, fmt.Errorf("%s lives until %s", key, f.NotAfter))
		}
	}
	return errors.Join(wrong...)
}

func (c *caServer) listenerServes(hosts ...string) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		var wrong []error
		for _, host := range hosts {
			wrong = append(wrong, c.handshake(s, host))
		}
		return errors.Join(wrong...)
	}
}

func (c *caServer) listenerServesNot(host string) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		if unknown := new(x509.HostnameError); !errors.As(c.handshake(s, host), unknown) {
			return fmt.Errorf("the listener serves %s", host)
		}
		return nil
	}
}

// handshake verifies the listener by what the state exports, as an application would.
func (c *caServer) handshake(s *terraform.State, host string) error {
	from := caAddress
	if c.root != "" {
		from = "fabric_ca.root"
	}
	root, err := stateAttribute(s, from, "tls_certificate")
	if err != nil {
		return err
	}
	address, err := c.address(ca.DefaultPort)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(root))
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12})
	if err != nil {
		return fmt.Errorf("TLS with the CA as %s: %w", host, err)
	}
	return conn.Close()
}

// operationsWantACertificate: of the operations root, and of no other.
func (c *caServer) operationsWantACertificate(*terraform.State) error {
	address, err := c.address(ca.DefaultOperationsPort)
	if err != nil {
		return err
	}
	keys := caVolume(c.t, c.container()+"-keys")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(keys["operations/cert.pem"])
	get := func(client *certificate.KeyPair) error {
		config := &tls.Config{RootCAs: roots, ServerName: c.name + ".example.com", MinVersion: tls.VersionTLS12}
		if client != nil {
			config.Certificates = []tls.Certificate{client.TLS()}
		}
		return httpGet(c.t, "https://"+address+"/metrics", config)
	}
	if err := get(nil); !refused(err) {
		return fmt.Errorf("operations without a certificate: %v", err)
	}
	stranger, err := certificate.ParseKeyPair(keys["tls/registrar/cert.pem"], keys["tls/registrar/key.pem"])
	if err != nil {
		return err
	}
	if err := get(stranger); !refused(err) {
		return fmt.Errorf("operations with a certificate of the TLS CA: %v", err)
	}
	root, err := certificate.ParseKeyPair(keys["operations/cert.pem"], keys["operations/key.pem"])
	if err != nil {
		return err
	}
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	if err != nil {
		return err
	}
	cert, err := certificate.Issue(root, certificate.LeafRequest{CommonName: "test", Client: true, Validity: time.Hour, PublicKey: key.Public()})
	if err != nil {
		return err
	}
	return get(&certificate.KeyPair{Certificate: cert, Key: key})
}

// registriesAreSeparate: what one CA knows, the other does not; a registrar is nobody at the other.
func (c *caServer) registriesAreSeparate(*terraform.State) error {
	enrolment, registrar, err := c.client("ca")
	if err != nil {
		return err
	}
	tlsCA, tlsRegistrar, err := c.client("tls")
	if err != nil {
		return err
	}
	if _, err := enrolment.Identity(c.t.Context(), registrar, "alice"); err != nil {
		return err
	}
	if _, err := tlsCA.Identity(c.t.Context(), tlsRegistrar, "alice"); !errors.Is(err, ca.ErrNotFound) {
		return fmt.Errorf("alice at the TLS CA: %v", err)
	}
	if _, err := tlsCA.Identity(c.t.Context(), registrar, "registrar"); !errors.Is(err, ca.ErrAuthentication) {
		return fmt.Errorf("the registrar of one CA at the other: %v", err)
	}
	return nil
}

func (c *caServer) publishesOnLoopbackOnly(*terraform.State) error {
	for port, bindings := range inspect(c.t, c.container()).HostConfig.PortBindings {
		for _, b := range bindings {
			if b.HostIP.String() != "127.0.0.1" {
				return fmt.Errorf("port %s is published on %s", port, b.HostIP)
			}
		}
	}
	return nil
}

func (c *caServer) runsWith(team string, memory, pids int64) resource.TestCheckFunc {
	return func(*terraform.State) error {
		have := inspect(c.t, c.container())
		if have.Config.Labels["team"] != team || have.HostConfig.Memory != memory || have.HostConfig.PidsLimit == nil || *have.HostConfig.PidsLimit != pids ||
			have.HostConfig.NanoCPUs != 1e9 || have.HostConfig.LogConfig.Type != "json-file" || have.HostConfig.LogConfig.Config["max-size"] != "10m" {
			return fmt.Errorf("it runs with label %q, %+v, %+v", have.Config.Labels["team"], have.HostConfig.Resources, have.HostConfig.LogConfig)
		}
		return nil
	}
}

// certified checks what an identity's certificate says.
func certified(address, role string, attributes map[string]string, validity time.Duration) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		text, err := stateAttribute(s, address, "certificate")
		if err != nil {
			return err
		}
		f, err := certificate.ReadFacts([]byte(text))
		if err != nil {
			return err
		}
		if !slices.Contains(f.OrganizationalUnits, role) {
			return fmt.Errorf("%s has the units %v", address, f.OrganizationalUnits)
		}
		for name, value := range f.Attributes {
			if !strings.HasPrefix(name, "hf.") && attributes[name] != value {
				return fmt.Errorf("%s has the attribute %s = %q", address, name, value)
			}
		}
		for name, value := range attributes {
			if f.Attributes[name] != value {
				return fmt.Errorf("%s has the attributes %v", address, f.Attributes)
			}
		}
		notAfter, err := stateAttribute(s, address, "not_after")
		if err != nil || notAfter != f.NotAfter {
			return fmt.Errorf("not_after is %q, the certificate says %q (%v)", notAfter, f.NotAfter, err)
		}
		until, err := time.Parse(time.RFC3339, f.NotAfter)
		if left := time.Until(until); err != nil || left > validity+time.Hour || left < validity-time.Hour {
			return fmt.Errorf("%s lives until %s, want %s (%v)", address, f.NotAfter, validity, err)
		}
		return nil
	}
}

// sameKey checks that a certificate was issued for the same key as the remembered one.
func (r *remembered) sameKey(name, address, key string) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		text, err := stateAttribute(s, address, key)
		if err != nil {
			return err
		}
		was, is := fingerprint(r.facts[name]), fingerprint(text)
		if was != is || was == "" {
			return fmt.Errorf("%s of %s has another key", key, address)
		}
		return nil
	}
}

func fingerprint(certificatePEM string) string {
	f, err := certificate.ReadFacts([]byte(certificatePEM))
	if err != nil {
		return ""
	}
	return f.PublicKeyFingerprint
}

func disconnect(t *testing.T, network, container string) {
	t.Helper()
	if _, err := dockerClient(t).NetworkDisconnect(t.Context(), network, client.NetworkDisconnectOptions{Container: container, Force: true}); err != nil {
		t.Fatal(err)
	}
}

func isPrivateKey(content []byte) bool {
	block, _ := pem.Decode(content)
	return block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY")
}

// mspFolder checks that a directory is the local MSP of a member, for its owner alone.
func mspFolder(t *testing.T, directory string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		files, err := readPrivate(directory)
		if err != nil {
			return err
		}
		definition, identity, err := msp.ParseFolder("Org1MSP", files)
		if err != nil {
			return err
		}
		if identity == nil {
			return errors.New("the MSP folder holds no identity")
		}
		if !isPrivateKey(files["keystore/key.pem"]) {
			return errors.New("the MSP folder holds no key")
		}
		return definition.VerifyMember(identity.CertificatePEM)
	}
}
