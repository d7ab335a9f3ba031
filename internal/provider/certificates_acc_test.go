package provider

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// ageing is a network whose certificates grow old: that of a life, with an identity that submits its
// transaction.
type ageing struct {
	life
	// ofCA, ofOrganization and ofIdentity are further attributes of each of them.
	ofCA, ofOrganization, ofIdentity string
}

func (a ageing) String() string {
	into := func(config, resource, attributes string) string {
		return strings.ReplaceAll(config, resource, resource+"\n  "+attributes)
	}
	config := strings.Replace(a.life.String(), "identity  = fabric_organization.org1.handle", "identity  = fabric_identity.alice.handle", 1)
	for _, org := range []string{"orderer", "org1"} {
		config = into(config, fmt.Sprintf("resource \"fabric_ca\" %q {", org), a.ofCA)
		config = into(config, fmt.Sprintf("resource \"fabric_organization\" %q {", org), a.ofOrganization)
	}
	return config + fmt.Sprintf(`
resource "fabric_identity" "alice" {
  organization = fabric_organization.org1.handle
  name         = "alice"
  %s
}
`, a.ofIdentity)
}

// ageingCertificates are all that the provider issues there, by address.
var ageingCertificates = map[string][]string{
	"fabric_ca.orderer":           {"listener_certificate", "operations_certificate"},
	"fabric_ca.org1":              {"listener_certificate", "operations_certificate"},
	"fabric_organization.orderer": {"admin_certificate"},
	"fabric_organization.org1":    {"admin_certificate"},
	"fabric_identity.alice":       {"certificate"},
	peerAddress:                   {"enrollment_certificate", "tls_certificate", "operations_certificate"},
}

func ordererCertificates(name string) []string {
	return []string{"nodes." + name + ".enrollment_certificate", "nodes." + name + ".tls_certificate", "nodes." + name + ".operations_certificate"}
}

// everyCertificate runs a check for each certificate of the network.
func everyCertificate(orderers []string, check func(address, key string) resource.TestCheckFunc) resource.TestCheckFunc {
	var all []resource.TestCheckFunc
	for address, keys := range ageingCertificates {
		for _, key := range keys {
			all = append(all, check(address, key))
		}
	}
	for _, name := range orderers {
		for _, key := range ordererCertificates(name) {
			all = append(all, check(clusterAddress, key))
		}
	}
	return resource.ComposeAggregateTestCheckFunc(all...)
}

// renewed checks that a certificate is another one than before, with or without its old key.
func (s *sightings) renewed(keepsKey bool) func(address, key string) resource.TestCheckFunc {
	return func(address, key string) resource.TestCheckFunc {
		return func(state *terraform.State) error {
			if err := s.changed(address, key)(state); err != nil {
				return err
			}
			was, err := firstCertificate(attribute(s.before, address, key))
			if err != nil {
				return err
			}
			is, err := firstCertificate(attribute(state, address, key))
			if err == nil && (was.PublicKeyFingerprint == is.PublicKeyFingerprint) != keepsKey {
				err = fmt.Errorf("%s.%s has the key of before: %t", address, key, !keepsKey)
			}
			return err
		}
	}
}

// starts gives when each of the containers was started.
func starts(t *testing.T, names ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range names {
		found, err := dockerClient(t).ContainerInspect(t.Context(), name, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out[name] = found.Container.State.StartedAt
	}
	return out
}

// TestAccCertificates renews every certificate of a network that works, and then has a key of each
// kind replaced. No certificate need grow old for that: Read is shown a clock that is ahead.
func TestAccCertificates(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	a := ageing{life: life{name: name, version: "3.1.1", nodes: "orderer0 = {}"}}
	with := func(change func(*ageing)) string {
		change(&a)
		return a.String()
	}
	t.Cleanup(func() { clock = time.Now })
	seen := &sightings{t: t, network: name}
	server := &caServer{t: t, network: name, name: "ca.org1"}
	nodes := []string{name + "-ca.orderer", name + "-ca.org1", name + "-orderer0", name + "-peer0.org1"}
	everything := []string{
		"fabric_ca.orderer", "fabric_ca.org1", "fabric_organization.orderer", "fabric_organization.org1", "fabric_identity.alice",
		clusterAddress, peerAddress, "fabric_transaction.this",
	}
	var before map[string]string
	var old []string
	tells := func(address, key string, words ...string) resource.TestCheckFunc {
		return func(state *terraform.State) error {
			said := attribute(state, address, key)
			for _, w := range words {
				if !strings.Contains(said, w) {
					return fmt.Errorf("%s.%s is %q and does not say %q", address, key, said, w)
				}
			}
			return nil
		}
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: with(func(*ageing) {}),
				Check: resource.ComposeTestCheckFunc(seen.check, func(*terraform.State) error {
					before = starts(t, nodes...)
					return nil
				}),
			},
			{ // In a year everything is due, and a plan says so; the keys stay, and the network works on.
				PreConfig:          func() { clock = func() time.Time { return time.Now().Add(360 * day) } },
				Config:             with(func(a *ageing) { a.run++ }),
				ConfigPlanChecks:   onlyUpdated(everything...),
				ExpectNonEmptyPlan: true, // the new certificates were issued today
				Check: resource.ComposeTestCheckFunc(
					seen.check, everyCertificate([]string{"orderer0"}, seen.renewed(true)),
					tells(peerAddress, "last_renewal", "new certificates for the keys that are there: enrollment (valid until", "peer peer0.org1 restarts"),
					tells(clusterAddress, "nodes.orderer0.last_renewal", "ordering node orderer0 restarts"),
					tells("fabric_ca.org1", "last_renewal", "listener (valid until", "CA ca.org1 restarts"),
					tells("fabric_organization.org1", "last_renewal", "admin (valid until", "nothing restarts"),
					func(*terraform.State) error {
						for node, at := range starts(t, nodes...) {
							if at == before[node] {
								return fmt.Errorf("%s goes on with the certificates of before", node)
							}
						}
						before = starts(t, nodes...)
						return nil
					},
				),
			},
			{ // Today nothing is.
				PreConfig:        func() { clock = time.Now },
				Config:           a.String(),
				ConfigPlanChecks: onlyUpdated(),
				Check: resource.ComposeTestCheckFunc(seen.check, func(state *terraform.State) error {
					for node, at := range starts(t, nodes...) {
						if at != before[node] {
							return fmt.Errorf("%s was restarted for nothing", node)
						}
					}
					old = []string{
						attribute(state, peerAddress, "enrollment_certificate"), attribute(state, "fabric_identity.alice", "certificate"),
						attribute(state, "fabric_organization.org1", "admin_certificate"),
					}
					return nil
				}),
			},
			{ // The channel could not be told the new key of its only consenter.
				Config:      strings.Replace(a.String(), "orderer0 = {}", "orderer0 = { key_version = 2 }", 1),
				ExpectError: says("Keys of a lone consenter", "orderer orderer0 is the only consenter of channel trade", "add two ordering nodes first"),
			},
			{ // Nor could it be told a certificate of another root.
				Config:      strings.Replace(a.String(), "resource \"fabric_organization\" \"orderer\" {", "resource \"fabric_organization\" \"orderer\" {\n  tls_root_version = 2", 1),
				ExpectError: says("Unable to update organization OrdererMSP", "orderer orderer0 is the only consenter of channel trade"),
			},
			{ // Keys that somebody else may know: of the members of one organization, and of its CA's listener.
				Config: with(func(a *ageing) {
					a.run++
					a.peer, a.ofOrganization, a.ofIdentity, a.ofCA = "key_version = 2", "key_version = 2", "key_version = 2", "key_version = 2"
				}),
				ConfigPlanChecks: onlyUpdated(slices.DeleteFunc(slices.Clone(everything), func(address string) bool { return address == clusterAddress })...),
				Check: resource.ComposeTestCheckFunc(
					seen.check, everyCertificate(nil, seen.renewed(false)),
					tells(peerAddress, "last_renewal", "key_version is 2", "revoked"),
					func(state *terraform.State) error {
						registry, registrar, err := server.client("ca")
						if err != nil {
							return err
						}
						for _, id := range []string{"peer0.org1", "alice", "admin"} {
							valid, err := registry.Certificates(t.Context(), registrar, ca.CertificateFilter{ID: id, NotExpired: true, NotRevoked: true})
							if err != nil {
								return err
							}
							if len(valid) != 1 || slices.Contains(old, string(certificate.EncodeCertificate(valid[0]))) {
								return fmt.Errorf("of %s, %d certificates are not revoked", id, len(valid))
							}
						}
						return nil
					},
				),
			},
			{
				ResourceName: peerAddress, ImportState: true, ImportStateId: name + "/peer0.org1", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name", ImportStateVerifyIgnore: []string{"deletion_protection", "last_renewal"},
			},
			{
				ResourceName: "fabric_identity.alice", ImportState: true, ImportStateId: name + "/Org1MSP/alice", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name", ImportStateVerifyIgnore: []string{"last_renewal"},
			},
			{
				ResourceName: "fabric_organization.org1", ImportState: true, ImportStateId: name + "/Org1MSP", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "msp_id", ImportStateVerifyIgnore: []string{"last_renewal"},
			},
			{ // A peer that leaves is known to its CA no more.
				Config: a.String() + secondPeer,
				Check:  server.knows("peer1.org1"),
			},
			{Config: a.String(), Check: server.knowsNot("peer1.org1")},
		},
	})
}

const secondPeer = `
resource "fabric_peer" "second" {
  organization        = fabric_organization.org1.handle
  name                = "peer1.org1"
  deletion_protection = false
}
`

// twoPeers gives the organization of a life a second peer on the channel: applications speak to one while
// the other restarts.
func twoPeers(config string) string {
	return strings.Replace(config, "{ peer0 = fabric_peer.this.handle }", "{ peer0 = fabric_peer.this.handle, peer1 = fabric_peer.second.handle }", 1) + secondPeer
}

// requireLong skips what takes minutes.
func requireLong(t *testing.T) {
	t.Helper()
	if os.Getenv("FABRIC_LONG") == "" {
		t.Skip("FABRIC_LONG=1 runs this test, which takes its time")
	}
}

// TestLongCertificatesExpire lets every certificate of a network expire, its nodes', its admins' and its
// CAs' listeners', and has one apply mend it; and then another apply renew them in time.
func TestLongCertificatesExpire(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	sweepNetwork(t, name)
	a := ageing{life: life{name: name, version: "3.1.1"}, ofCA: `certificate_validity = "4m"`}
	seen := &sightings{t: t, network: name}
	orderers := []string{"orderer0", "orderer1", "orderer2"}
	everything := []string{
		"fabric_ca.orderer", "fabric_ca.org1", "fabric_organization.orderer", "fabric_organization.org1", "fabric_identity.alice",
		clusterAddress, peerAddress, "fabric_transaction.this",
	}
	// await waits until an instant of the last state: the latest of those that look finds.
	await := func(look func(address, key string) time.Time) func() {
		return func() {
			var last time.Time
			visit := func(address, key string) {
				if at := look(address, key); at.After(last) {
					last = at
				}
			}
			for address, keys := range ageingCertificates {
				for _, key := range keys {
					visit(address, key)
				}
			}
			for _, node := range orderers {
				for _, key := range ordererCertificates(node) {
					visit(clusterAddress, key)
				}
			}
			t.Logf("waiting for %s", time.Until(last).Round(time.Second))
			select {
			case <-t.Context().Done():
			case <-time.After(time.Until(last) + 2*time.Second):
			}
		}
	}
	ends := func(address, key string) time.Time {
		facts, err := firstCertificate(attribute(seen.last, address, key))
		if err != nil {
			t.Fatalf("%s.%s: %v", address, key, err)
		}
		at, err := time.Parse(time.RFC3339, facts.NotAfter)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	due := func(address, key string) time.Time {
		at, err := time.Parse(time.RFC3339, attribute(seen.last, address, key[:strings.LastIndex("."+key, ".")]+"renewal_at"))
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: a.String(), Check: seen.check},
			{
				PreConfig:        await(ends),
				Config:           func() string { a.run++; return a.String() }(),
				ConfigPlanChecks: onlyUpdated(everything...),
				Check:            resource.ComposeTestCheckFunc(seen.check, everyCertificate(orderers, seen.renewed(true))),
			},
			{
				PreConfig:        await(due),
				Config:           func() string { a.run++; return a.String() }(),
				ConfigPlanChecks: onlyUpdated(everything...),
				Check:            resource.ComposeTestCheckFunc(seen.check, everyCertificate(orderers, seen.renewed(true))),
			},
		},
	})
}

// TestLongTLSRootUnderLoad gives both organizations of a network another TLS root, at once, and then two of
// its three ordering nodes new keys, while values are written.
func TestLongTLSRootUnderLoad(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	sweepNetwork(t, name)
	a := ageing{life: life{name: name, version: "3.1.1"}}
	config := func(change func(*ageing)) string {
		a.run++
		change(&a)
		return twoPeers(busy(a.String()))
	}
	u := &underLoad{t: t, network: name}
	seen := &sightings{t: t, network: name}
	orderers := []string{"orderer0", "orderer1", "orderer2"}
	watch := func(what string) func() {
		return func() {
			u.next(what)()
			seen.watchRoll([]string{name + "-orderer0", name + "-orderer1", name + "-orderer2"})
		}
	}
	var old map[string]string
	roots := func(state *terraform.State) map[string]string {
		out := map[string]string{}
		for _, org := range []string{"orderer", "org1"} {
			out[org] = attribute(state, "fabric_organization."+org, "definition.tls_root_certificates.0")
		}
		return out
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: config(func(*ageing) {}), Check: resource.ComposeTestCheckFunc(seen.check, func(state *terraform.State) error {
				old = roots(state)
				return nil
			})},
			{
				PreConfig:        watch("another TLS root for both organizations"),
				Config:           config(func(a *ageing) { a.ofOrganization = "tls_root_version = 2\n  timeouts = { update = \"15m\" }" }),
				ConfigPlanChecks: onlyUpdated("fabric_organization.orderer", "fabric_organization.org1", "fabric_channel.trade", "fabric_transaction.this"),
				Check: resource.ComposeTestCheckFunc(seen.check, seen.rolled, func(state *terraform.State) error {
					for org, root := range roots(state) {
						if root == old[org] || attribute(state, "fabric_organization."+org, "definition.tls_root_certificates.#") != "1" {
							return fmt.Errorf("%s has %s TLS roots, the first of them the old one: %t", org, attribute(state, "fabric_organization."+org, "definition.tls_root_certificates.#"), root == old[org])
						}
					}
					return nil
				}),
			},
			{ // What the nodes have by now is what their resources tell; the channel's other settings change as ever.
				PreConfig:        u.next("another batch timeout"),
				Config:           strings.Replace(config(func(*ageing) {}), "300ms", "250ms", 1),
				ConfigPlanChecks: onlyUpdated("fabric_channel.trade", "fabric_transaction.this"),
				Check: resource.ComposeTestCheckFunc(seen.check, func(state *terraform.State) error {
					now := roots(state)
					for org, keys := range map[string][]string{
						"org1":    {attribute(state, peerAddress, "tls_certificate"), attribute(state, "fabric_ca.org1", "listener_certificate")},
						"orderer": {attribute(state, "fabric_ca.orderer", "listener_certificate")},
					} {
						if org == "orderer" {
							for _, node := range orderers {
								keys = append(keys, attribute(state, clusterAddress, "nodes."+node+".tls_certificate"))
							}
						}
						for i, text := range keys {
							err := certificate.VerifyChain(certificate.VerifyRequest{Leaf: []byte(text), Roots: [][]byte{[]byte(now[org])}})
							if err != nil {
								return fmt.Errorf("certificate %d of %s: %w", i, org, err)
							}
						}
					}
					return nil
				}),
			},
			{ // Consenters with new keys, one after the other.
				PreConfig: watch("new keys for two of three ordering nodes"),
				Config: strings.Replace(config(func(a *ageing) {
					a.nodes = "orderer0 = { key_version = 2 }, orderer1 = {}, orderer2 = { key_version = 2 }"
				}), "300ms", "250ms", 1),
				ConfigPlanChecks: onlyUpdated(clusterAddress, "fabric_transaction.this"),
				Check: resource.ComposeTestCheckFunc(seen.check, seen.rolled, listedWithTheirKeys(t, name, 3), func(state *terraform.State) error {
					for _, node := range orderers {
						for _, key := range ordererCertificates(node) {
							check := seen.renewed(false)(clusterAddress, key)
							if node == "orderer1" {
								check = seen.same(clusterAddress, key)
							}
							if err := check(state); err != nil {
								return err
							}
						}
					}
					return nil
				}, u.finish),
			},
		},
	})
}

// listedWithTheirKeys expects so many consenters on the channel, each with the key that its node has now.
func listedWithTheirKeys(t *testing.T, on string, consenters int) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		facts, err := channelFacts(t, on)
		if err != nil {
			return err
		}
		if len(facts.Summary.Consenters) != consenters {
			return fmt.Errorf("the channel has %d consenters, want %d", len(facts.Summary.Consenters), consenters)
		}
		for _, c := range facts.Summary.Consenters {
			node := strings.TrimSuffix(c.Host, ".example.com")
			listed, err := firstCertificate(c.ServerTLSCertPEM)
			if err != nil {
				return err
			}
			has, err := firstCertificate(attribute(state, clusterAddress, "nodes."+node+".tls_certificate"))
			if err != nil {
				return err
			}
			if listed.PublicKeyFingerprint != has.PublicKeyFingerprint {
				return fmt.Errorf("the channel lists %s with another key than it has", node)
			}
		}
		return nil
	}
}

// revocations has both organizations of an ageing network tell who was revoked, in the same apply.
const revocations = `
resource "fabric_crl" "orderer" {
  organization = fabric_organization.orderer.handle
  triggers     = { keys = jsonencode({ for name, node in fabric_orderer_cluster.this.nodes : name => node.key_version }) }
}

resource "fabric_crl" "org1" {
  organization = fabric_organization.org1.handle
  triggers     = { key = fabric_peer.this.key_version, identity = fabric_identity.alice.key_version }
}
`

// TestLongCertificatesUnderLoad renews every certificate of a network and replaces keys of each kind of
// node, the last ones with two ordering nodes left, while values are written.
func TestLongCertificatesUnderLoad(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	sweepNetwork(t, name)
	a := ageing{life: life{name: name, version: "3.1.1"}}
	config := func(change func(*ageing)) string {
		a.run++
		change(&a)
		return twoPeers(busy(a.String())) + revocations
	}
	u := &underLoad{t: t, network: name}
	seen := &sightings{t: t, network: name}
	t.Cleanup(func() { clock = time.Now })
	three := []string{"orderer0", "orderer1", "orderer2"}
	everything := []string{
		"fabric_ca.orderer", "fabric_ca.org1", "fabric_organization.orderer", "fabric_organization.org1", "fabric_identity.alice",
		clusterAddress, peerAddress, "fabric_peer.second", "fabric_crl.orderer", "fabric_crl.org1", "fabric_transaction.this",
	}
	renewed := func(keepsKey bool, address string, keys ...string) resource.TestCheckFunc {
		var all []resource.TestCheckFunc
		for _, key := range keys {
			all = append(all, seen.renewed(keepsKey)(address, key))
		}
		return resource.ComposeAggregateTestCheckFunc(all...)
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: config(func(*ageing) {}), Check: seen.check},
			{
				PreConfig: func() {
					u.next("every certificate renewed")()
					seen.watchRoll([]string{name + "-orderer0", name + "-orderer1", name + "-orderer2"})
					clock = func() time.Time { return time.Now().Add(360 * day) }
				},
				Config: config(func(*ageing) {}), ConfigPlanChecks: onlyUpdated(everything...),
				ExpectNonEmptyPlan: true, // the new certificates were issued today
				Check:              resource.ComposeTestCheckFunc(seen.check, seen.rolled, everyCertificate(three, seen.renewed(true))),
			},
			{
				PreConfig: func() {
					clock = time.Now
					u.next("new keys for a peer, one of three ordering nodes, a CA's listener and an identity, and the old ones revoked")()
				},
				Config: config(func(a *ageing) {
					a.nodes = "orderer0 = {}, orderer1 = { key_version = 2 }, orderer2 = {}"
					a.peer, a.ofIdentity, a.ofCA = "key_version = 2", "key_version = 2", "key_version = 2"
				}),
				// Of each key there were two certificates by then.
				Check: resource.ComposeTestCheckFunc(
					seen.check, listedWithTheirKeys(t, name, 3), listsOnChannel(t, name, map[string]int{"Org1MSP": 4, "OrdererMSP": 2}),
					renewed(false, clusterAddress, ordererCertificates("orderer1")...), seen.same(clusterAddress, ordererCertificates("orderer0")...),
					renewed(false, peerAddress, ageingCertificates[peerAddress]...), renewed(false, "fabric_identity.alice", "certificate"), renewed(false, "fabric_ca.org1", "listener_certificate"),
				),
			},
			{
				PreConfig: func() {
					u.next("from three ordering nodes to two")()
					delete(seen.heights, "orderer2")
					delete(seen.volumes, name+"-orderer2")
				},
				Config: config(func(a *ageing) { a.nodes = "orderer0 = {}, orderer1 = { key_version = 2 }" }),
				Check:  resource.ComposeTestCheckFunc(seen.check, listedWithTheirKeys(t, name, 2)),
			},
			{
				PreConfig: u.next("a new key for one of two ordering nodes"),
				Config:    config(func(a *ageing) { a.nodes = "orderer0 = { key_version = 2 }, orderer1 = { key_version = 2 }" }),
				Check: resource.ComposeTestCheckFunc(
					seen.check, listedWithTheirKeys(t, name, 2), listsOnChannel(t, name, map[string]int{"Org1MSP": 4, "OrdererMSP": 6}),
					renewed(false, clusterAddress, ordererCertificates("orderer0")...), seen.same(clusterAddress, ordererCertificates("orderer1")...),
					u.finish,
				),
			},
		},
	})
}
