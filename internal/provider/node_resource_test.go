package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// life is a network that one test takes through everything that happens to nodes: an ordering
// cluster of three, a peer, a channel, a chaincode and a transaction.
type life struct {
	name, version string
	// cluster and peer are further attributes of the two resources, nodes the map of the cluster.
	cluster, peer, nodes string
	// run is a trigger of the transaction.
	run int
}

func (l life) String() string {
	nodes := l.nodes
	if nodes == "" {
		nodes = "orderer0 = {}, orderer1 = {}, orderer2 = {}"
	}
	return plainOrganizations(l.name, l.version, "orderer", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { %[1]s }
  deletion_protection = false
  %[2]s
}

resource "fabric_peer" "this" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
  %[3]s
}

resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { peer0 = fabric_peer.this.handle }
    }
  }
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer')"
}

resource "fabric_transaction" "this" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_organization.org1.handle
  function  = "put"
  arguments = ["greeting", "hello"]
  triggers  = { run = "%[4]d" }
}
`, nodes, l.cluster, l.peer, l.run)
}

// plainOrganizations is organizationsConfig without for_each, which the older checks of the testing
// library do not understand.
func plainOrganizations(network, version string, names ...string) string {
	config := fmt.Sprintf(`
provider "fabric" {
  fabric_version = %[2]q
}

resource "fabric_network" "this" {
  name   = %[1]q
  domain = "example.com"
}
`, network, version)
	for _, name := range names {
		config += fmt.Sprintf(`
resource "fabric_ca" %[1]q {
  network             = fabric_network.this.handle
  name                = "ca.%[1]s"
  organization        = %[1]q
  deletion_protection = false
}

resource "fabric_organization" %[1]q {
  msp_id = "${title(%[1]q)}MSP"
  ca     = fabric_ca.%[1]s.handle
}
`, name)
	}
	return config
}

const (
	peerAddress    = "fabric_peer.this"
	clusterAddress = "fabric_orderer_cluster.this"
)

// furnished are attributes that say something of everything about a node.
const (
	furnishedPeer = `
  fabric_version  = "2.5.9"
  limits          = { memory_mib = 384, pids = 256, cpus = 1.5 }
  labels          = { team = "platform" }
  log             = { driver = "json-file", options = { max-size = "5m" } }
  sans            = ["peer.example.net", "192.0.2.7"]
  port            = 16151
  operations_port = 16152
  config = {
    peer   = { gossip = { maxBlockCountToStore = 20, dialTimeout = "4s" }, discovery = { authCachePurgeRetentionRatio = 0.7 } }
    ledger = { history = { enableHistoryDatabase = false } }
  }
`
	furnishedCluster = `
  limits = { memory_mib = 256, pids = 128, cpus = 1 }
  labels = { team = "ordering" }
  log    = { driver = "json-file", options = { max-size = "5m" } }
  config = { General = { Keepalive = { ServerInterval = "1800s" } }, Debug = {} }
`
	furnishedNodes = `
    orderer0 = { sans = ["orderer.example.net"], port = 16161, admin_port = 16162, operations_port = 16163 }
    orderer1 = {}
    orderer2 = { advertised_address = "orderer2.example.com:7050" }
`
)

// TestAccNodes takes a peer and an ordering cluster through their life. Nothing downstream of them
// may ever appear in a plan, and no ledger may ever be shorter than before.
func TestAccNodes(t *testing.T) {
	name := networkName(t)
	l := life{name: name, version: "2.5.9"}
	with := func(change func(*life)) string {
		change(&l)
		return l.String()
	}
	seen := &sightings{t: t, network: name}
	sweepNetwork(t, name)
	containers := []string{name + "-peer0.org1", name + "-orderer0", name + "-orderer1", name + "-orderer2"}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: with(func(*life) {}),
				Check: resource.ComposeTestCheckFunc(
					seen.check,
					hardened(t, containers...),
					closedDoors(t, name),
					func(*terraform.State) error {
						return expectLimits(t, name+"-peer0.org1", container.Resources{}, "127.0.0.1")
					},
				),
			},
			{ // Everything about the peer at once, in place.
				Config:           with(func(l *life) { l.peer = furnishedPeer }),
				ConfigPlanChecks: onlyUpdated(peerAddress),
				Check: resource.ComposeTestCheckFunc(
					seen.check, seen.changed(peerAddress, "tls_certificate"), seen.same(peerAddress, "enrollment_certificate", "image_id"),
					resource.TestCheckResourceAttr(peerAddress, "port", "16151"),
					seen.configures("peer0.org1", "core.yaml", "maxBlockCountToStore: 20", "dialTimeout: 4s"),
					seen.serves(peerAddress, "tls_certificate", "peer.example.net", "192.0.2.7", "peer0.org1.example.com", "localhost"),
					hardened(t, containers...),
					func(*terraform.State) error {
						pids := int64(256)
						return expectLimits(t, name+"-peer0.org1", container.Resources{Memory: 384 << 20, MemorySwap: 384 << 20, PidsLimit: &pids, NanoCPUs: 1_500_000_000}, "127.0.0.1")
					},
				),
			},
			{ // The cluster, one node after the other.
				PreConfig:        func() { seen.watchRoll(containers[1:]) },
				Config:           with(func(l *life) { l.cluster, l.nodes = furnishedCluster, furnishedNodes }),
				ConfigPlanChecks: onlyUpdated(clusterAddress),
				Check: resource.ComposeTestCheckFunc(
					seen.check, seen.rolled,
					seen.changed(clusterAddress, "nodes.orderer0.tls_certificate"), seen.sameKey(clusterAddress, "nodes.orderer0.tls_certificate"),
					seen.same(clusterAddress, "nodes.orderer0.enrollment_certificate", "nodes.orderer1.tls_certificate", "image_id"),
					seen.serves(clusterAddress, "nodes.orderer0.tls_certificate", "orderer.example.net", "orderer0.example.com"),
					resource.TestCheckResourceAttr(clusterAddress, "nodes.orderer0.admin_port", "16162"),
					seen.configures("orderer1", "orderer.yaml", "ServerInterval: 1800s"),
					hardened(t, containers...),
				),
			},
			{ // Nodes that order cannot hand a host port on to each other.
				Config:      strings.NewReplacer("port = 16161,", "port = 16171,", "orderer1 = {}", "orderer1 = { port = 16161 }").Replace(l.String()),
				PlanOnly:    true,
				ExpectError: says("A channel would lose its quorum", "handing host port 16161 on from orderer0 to orderer1", "change fewer nodes in one apply"),
			},
			{ // A change that a node does not survive ends there: the others keep the quorum.
				Config: with(func(l *life) {
					l.cluster = `config = { General = { Profile = { Enabled = true, Address = "203.0.113.1:6060" } } }`
				}),
				ExpectError: says("Unable to update ordering cluster orderers", "it exited with code", "last log lines", "203.0.113.1:6060"),
			},
			{
				PreConfig: func() {
					if up := runningOf(t, containers[1:]); up != 2 {
						t.Errorf("%d ordering nodes run after a change that none survives, want 2", up)
					}
				},
				Config:           with(func(l *life) { l.cluster = furnishedCluster }),
				ConfigPlanChecks: onlyUpdated(clusterAddress),
				Check:            seen.check,
			},
			{ // Import finds what was asked for, exactly.
				ResourceName: peerAddress, ImportState: true, ImportStateId: name + "/peer0.org1", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore:              []string{"deletion_protection"},
			},
			{
				ResourceName: clusterAddress, ImportState: true, ImportStateId: name + "/orderers", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore:              []string{"deletion_protection", "last_change"},
			},
			{ // Another release is another image: the containers change, the volumes stay. The peer has a
				// release of its own.
				Config:           with(func(l *life) { l.version, l.run = "3.1.1", 1 }),
				ConfigPlanChecks: onlyUpdated(clusterAddress, "fabric_transaction.this"),
				Check: resource.ComposeTestCheckFunc(
					seen.check, seen.changed(clusterAddress, "image_id"), seen.same(clusterAddress, "nodes.orderer0.tls_certificate", "nodes.orderer1.port"),
					resource.TestCheckResourceAttr(clusterAddress, "fabric_version", "3.1.1"),
					resource.TestCheckResourceAttr(clusterAddress, "image", "hyperledger/fabric-orderer:3.1.1"),
					resource.TestCheckResourceAttr(peerAddress, "image", "hyperledger/fabric-peer:2.5.9"),
					hardened(t, containers...), closedDoors(t, name),
				),
			},
			{ // Now it follows, with a host name and an address less, in another place, and with everything
				// else by default again.
				Config:           with(func(l *life) { l.peer = "bind_address = \"127.0.0.2\"\n  port = 16153"; l.cluster = "" }),
				ConfigPlanChecks: onlyUpdated(peerAddress, clusterAddress),
				Check: resource.ComposeTestCheckFunc(
					seen.check, seen.changed(peerAddress, "tls_certificate", "image_id"), seen.same(peerAddress, "enrollment_certificate"),
					resource.TestCheckResourceAttr(peerAddress, "image", "hyperledger/fabric-peer:3.1.1"),
					seen.serves(peerAddress, "tls_certificate", "peer0.org1.example.com"), seen.servesNot(peerAddress, "tls_certificate", "peer.example.net"),
					resource.TestCheckResourceAttr(peerAddress, "port", "16153"),
					resource.TestCheckResourceAttr(peerAddress, "operations_port", "16152"),
					func(*terraform.State) error {
						return expectLimits(t, name+"-peer0.org1", container.Resources{}, "127.0.0.2")
					},
					func(*terraform.State) error { return expectClosed("127.0.0.1:16153") },
				),
			},
			{
				Config:           with(func(l *life) { l.peer += "\n  desired_state = \"stopped\"" }),
				ConfigPlanChecks: onlyUpdated(peerAddress),
				Check:            resource.TestCheckResourceAttr(peerAddress, "status", "stopped"),
			},
			{
				Config:           with(func(l *life) { l.peer = "" }),
				ConfigPlanChecks: onlyUpdated(peerAddress),
				Check: resource.ComposeTestCheckFunc(seen.check, resource.TestCheckResourceAttr(peerAddress, "status", "running"),
					resource.TestCheckResourceAttr(peerAddress, "port", "16153")),
			},
			{ // A container that is stopped, one that was killed, one that is gone.
				PreConfig: func() {
					stopNodes(t, containers[0], containers[2])
					removeNodes(t, func(n engine.Node) bool { return n.Name == containers[3] })
				},
				Config:           l.String(),
				ConfigPlanChecks: onlyUpdated(peerAddress, clusterAddress),
				Check:            resource.ComposeTestCheckFunc(seen.check, resource.TestCheckResourceAttr(clusterAddress, "status", "running")),
			},
			{ // Every container of the network but the keepers of the keys.
				PreConfig: func() { removeNodes(t, seen.ours(false)) },
				Config:    with(func(l *life) { l.run = 2 }),
				Check:     resource.ComposeTestCheckFunc(seen.check, hardened(t, containers...)),
			},
			{ // The keepers too, and the network itself.
				PreConfig: func() {
					removeNodes(t, seen.ours(true))
					removeNetwork(t, name)
				},
				Config: with(func(l *life) { l.run = 3 }),
				Check:  resource.ComposeTestCheckFunc(seen.check, hardened(t, containers...), closedDoors(t, name)),
			},
		},
	})
}

// onlyUpdated checks that a plan updates these in place, and touches nothing else. A transaction
// among them is one that is submitted again.
func onlyUpdated(addresses ...string) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{onlyUpdates(addresses)}}
}

type onlyUpdates []string

func (o onlyUpdates) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	var wrong []error
	missing := slices.Clone(o)
	for _, rc := range req.Plan.ResourceChanges {
		wanted := slices.Contains(o, rc.Address)
		missing = slices.DeleteFunc(missing, func(address string) bool { return address == rc.Address })
		switch actions := rc.Change.Actions; {
		case wanted && actions.Update(), !wanted && actions.NoOp():
		case wanted && strings.HasPrefix(rc.Address, "fabric_transaction.") && actions.Replace():
		default:
			wrong = append(wrong, fmt.Errorf("%s is planned as %v: %v", rc.Address, actions, differing(rc.Change.Before, rc.Change.After, rc.Change.AfterUnknown)))
		}
	}
	if len(missing) > 0 {
		wrong = append(wrong, fmt.Errorf("not in the plan: %v", missing))
	}
	resp.Error = errors.Join(wrong...)
}

// differing names the attributes that a plan changes.
func differing(was, is, unknown any) []string {
	before, _ := was.(map[string]any)
	after, _ := is.(map[string]any)
	later, _ := unknown.(map[string]any)
	var out []string
	for key := range after {
		if fmt.Sprint(before[key]) != fmt.Sprint(after[key]) {
			out = append(out, key)
		}
	}
	return append(out, slices.Collect(maps.Keys(later))...)
}

// sightings compare a network with what it was a step before.
type sightings struct {
	t       *testing.T
	network string
	heights map[string]uint64
	// volumes are the instants at which the volumes were made.
	volumes   map[string]string
	before    *terraform.State
	last      *terraform.State
	mostDown  chan int
	stopWatch context.CancelFunc
}

// check compares heights and volumes with those of the step before, and remembers the state.
func (s *sightings) check(state *terraform.State) error {
	s.before, s.last = s.last, state.DeepCopy() //nolint:staticcheck // the framework reuses the state, and offers no other copy of it
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f := network.New(localEngine(s.t))
	spec, err := f.FindChannel(ctx, s.network, "trade")
	if err != nil {
		return err
	}
	// Peers follow their orderers within seconds; what counts is that none begins anew.
	facts, err := f.InspectChannel(ctx, spec.Handle)
	if err != nil {
		return err
	}
	var wrong []error
	for node, height := range s.heights {
		if facts.Heights[node] < height {
			wrong = append(wrong, fmt.Errorf("%s has height %d, and had %d", node, facts.Heights[node], height))
		}
	}
	s.heights = facts.Heights
	list, err := dockerClient(s.t).VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		return err
	}
	created := map[string]string{}
	for _, v := range list.Items {
		if v.Labels[engine.LabelNetwork] == s.network {
			created[v.Name] = v.CreatedAt
		}
	}
	for name, at := range s.volumes {
		if created[name] != at {
			wrong = append(wrong, fmt.Errorf("volume %s is another one than before", name))
		}
	}
	s.volumes = created
	return errors.Join(wrong...)
}

func attribute(state *terraform.State, address, key string) string {
	rs := state.RootModule().Resources[address]
	if rs == nil || rs.Primary == nil {
		return ""
	}
	return rs.Primary.Attributes[key]
}

func (s *sightings) changed(address string, keys ...string) resource.TestCheckFunc {
	return s.compare(address, keys, false)
}

func (s *sightings) same(address string, keys ...string) resource.TestCheckFunc {
	return s.compare(address, keys, true)
}

func (s *sightings) compare(address string, keys []string, same bool) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		for _, key := range keys {
			was, is := attribute(s.before, address, key), attribute(state, address, key)
			if is == "" || (was == is) != same {
				return fmt.Errorf("%s.%s was %q and is %q", address, key, was, is)
			}
		}
		return nil
	}
}

func (s *sightings) sameKey(address, key string) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		was, err := certificate.ParseOne([]byte(attribute(s.before, address, key)))
		if err != nil {
			return err
		}
		is, err := certificate.ParseOne([]byte(attribute(state, address, key)))
		if err == nil && certificate.PublicKeyFingerprint(was) != certificate.PublicKeyFingerprint(is) {
			err = fmt.Errorf("%s.%s has another key than before", address, key)
		}
		return err
	}
}

func (s *sightings) serves(address, key string, hosts ...string) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		cert, err := certificate.ParseOne([]byte(attribute(state, address, key)))
		for _, host := range hosts {
			if err == nil {
				err = cert.VerifyHostname(host)
			}
		}
		return err
	}
}

func (s *sightings) servesNot(address, key, host string) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		if s.serves(address, key, host)(state) == nil {
			return fmt.Errorf("%s.%s is still for %s", address, key, host)
		}
		return nil
	}
}

// configures looks for lines in the file that a node was started with.
func (s *sightings) configures(node, file string, lines ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		files, err := localEngine(s.t).GetFiles(s.t.Context(), s.network+"-"+node, "/var/hyperledger/node/config/"+file)
		if err != nil {
			return err
		}
		for _, line := range lines {
			if !strings.Contains(string(files[0].Content), line) {
				return fmt.Errorf("%s of %s lacks %q", file, node, line)
			}
		}
		return nil
	}
}

// ours tells which containers are of the network, with or without the keepers of the key volumes.
func (s *sightings) ours(keepers bool) func(engine.Node) bool {
	return func(n engine.Node) bool {
		return n.Labels[engine.LabelNetwork] == s.network && (keepers || n.Labels[keystore.LabelKeeper] == "")
	}
}

// watchRoll counts how many of the containers are down at the same time.
func (s *sightings) watchRoll(names []string) {
	ctx, cancel := context.WithCancel(context.Background())
	s.stopWatch, s.mostDown = cancel, make(chan int, 1)
	e := localEngine(s.t)
	go func() {
		most := 0
		look := time.NewTicker(20 * time.Millisecond)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				s.mostDown <- most
				return
			case <-look.C:
			}
			nodes, err := e.Nodes(ctx, map[string]string{engine.LabelNetwork: s.network})
			if err != nil {
				continue
			}
			up := 0
			for _, n := range nodes {
				if slices.Contains(names, n.Name) && n.Status == engine.Running {
					up++
				}
			}
			most = max(most, len(names)-up)
		}
	}()
	s.t.Cleanup(cancel)
}

func (s *sightings) rolled(*terraform.State) error {
	s.stopWatch()
	if most := <-s.mostDown; most != 1 {
		return fmt.Errorf("%d nodes were down at the same time, want 1", most)
	}
	return nil
}

func runningOf(t *testing.T, names []string) (up int) {
	t.Helper()
	for _, name := range names {
		if n, err := localEngine(t).Node(t.Context(), name); err == nil && n.Status == engine.Running {
			up++
		}
	}
	return up
}

var anonymousVolume = regexp.MustCompile(`^[0-9a-f]{64}$`)

// dockerClient speaks to the engine as a person does, past the provider.
func dockerClient(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// removeNodes removes containers by force, as docker rm -f does.
func removeNodes(t *testing.T, which func(engine.Node) bool) {
	t.Helper()
	nodes, err := localEngine(t).Nodes(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	api := dockerClient(t)
	for _, n := range nodes {
		if which(n) {
			if _, err := api.ContainerRemove(t.Context(), n.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func removeVolume(t *testing.T, name string) {
	t.Helper()
	if _, err := dockerClient(t).VolumeRemove(t.Context(), name, client.VolumeRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
}

func removeNetwork(t *testing.T, name string) {
	t.Helper()
	if _, err := dockerClient(t).NetworkRemove(t.Context(), name, client.NetworkRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
}

func inspect(t *testing.T, name string) container.InspectResponse {
	t.Helper()
	have, err := dockerClient(t).ContainerInspect(t.Context(), name, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return have.Container
}

// hardened inspects running containers.
func hardened(t *testing.T, names ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		var wrong []error
		for _, name := range names {
			c := inspect(t, name)
			no := func(format string, args ...any) {
				wrong = append(wrong, fmt.Errorf("container %s %s", name, fmt.Sprintf(format, args...)))
			}
			host := c.HostConfig
			if !c.State.Running {
				no("does not run")
			}
			if c.Config.User != "1000:1000" {
				no("runs as %q", c.Config.User)
			}
			if !host.ReadonlyRootfs {
				no("may write to its root file system")
			}
			if !slices.Equal(host.CapDrop, []string{"ALL"}) || len(host.CapAdd) > 0 || host.Privileged {
				no("has capabilities: drops %v, adds %v, privileged %t", host.CapDrop, host.CapAdd, host.Privileged)
			}
			if !slices.Contains(host.SecurityOpt, "no-new-privileges:true") {
				no("may gain privileges: %v", host.SecurityOpt)
			}
			if host.PidMode != "" || host.NetworkMode.IsHost() || host.IpcMode.IsHost() {
				no("shares namespaces of the host")
			}
			for _, m := range c.Mounts {
				switch {
				case m.Type == mount.TypeVolume && !anonymousVolume.MatchString(m.Name):
				case m.Type == mount.TypeTmpfs:
				default:
					no("mounts %s %s from %s", m.Type, m.Destination, m.Source)
				}
				if strings.Contains(m.Source, "docker.sock") {
					no("has the engine's socket")
				}
			}
			for _, variable := range c.Config.Env {
				if strings.Contains(variable, "PRIVATE KEY") || strings.Contains(strings.ToLower(variable), "password") {
					no("has a secret in its environment")
				}
			}
		}
		return errors.Join(wrong...)
	}
}

// expectLimits compares the limits of a container, and the address that all its ports are bound to.
func expectLimits(t *testing.T, name string, want container.Resources, address string) error {
	have := inspect(t, name).HostConfig
	pids := func(p *int64) int64 {
		if p == nil || *p < 0 {
			return 0
		}
		return *p
	}
	if have.Memory != want.Memory || have.MemorySwap != want.MemorySwap || have.NanoCPUs != want.NanoCPUs || pids(have.PidsLimit) != pids(want.PidsLimit) {
		return fmt.Errorf("the limits of %s are memory %d, swap %d, cpus %d, pids %d", name, have.Memory, have.MemorySwap, have.NanoCPUs, pids(have.PidsLimit))
	}
	if len(have.PortBindings) == 0 {
		return fmt.Errorf("%s publishes nothing", name)
	}
	for port, bindings := range have.PortBindings {
		for _, b := range bindings {
			if b.HostIP.String() != address {
				return fmt.Errorf("port %s of %s is bound to %s, want %s", port, name, b.HostIP, address)
			}
		}
	}
	return nil
}

func expectClosed(address string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil //nolint:nilerr // that nobody listens is what is expected
	}
	return errors.Join(fmt.Errorf("somebody listens at %s", address), conn.Close())
}

// closedDoors knocks at every published port of a peer and an orderer: without TLS, without a client
// certificate, with one of the organization's own TLS CA, and with one of the operations root.
func closedDoors(t *testing.T, network string) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		var wrong []error
		for _, door := range []struct {
			what, address, port, ca, node, path string
			mutual                              bool
		}{
			{"gRPC of the peer", peerAddress, "port", "ca.org1", "peer0.org1", "", false},
			{"operations of the peer", peerAddress, "operations_port", "ca.org1", "peer0.org1", "/metrics", true},
			{"gRPC of the orderer", clusterAddress, "nodes.orderer0.port", "ca.orderer", "orderer0", "", false},
			{"admin of the orderer", clusterAddress, "nodes.orderer0.admin_port", "ca.orderer", "orderer0", "/participation/v1/channels", true},
			{"operations of the orderer", clusterAddress, "nodes.orderer0.operations_port", "ca.orderer", "orderer0", "/metrics", true},
		} {
			port, err := strconv.Atoi(attribute(state, door.address, door.port))
			if err != nil {
				return err
			}
			keys := caVolume(t, network+"-"+door.ca+"-keys")
			own := nodeFiles(t, network+"-"+door.node)
			say := func(format string, args ...any) {
				wrong = append(wrong, fmt.Errorf("%s, port %d: %s", door.what, port, fmt.Sprintf(format, args...)))
			}
			roots := x509.NewCertPool()
			if !door.mutual {
				roots.AppendCertsFromPEM(keys["tls/ca.pem"])
				config := &tls.Config{RootCAs: roots, ServerName: door.node + ".example.com", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
				conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), config)
				if err != nil {
					say("with TLS: %v", err)
					continue
				}
				_ = conn.Close()
				if err := speakPlainly(t, port); err == nil {
					say("it answers without TLS")
				}
				continue
			}
			roots.AppendCertsFromPEM(keys["operations/cert.pem"])
			get := func(client *tls.Certificate) error {
				config := &tls.Config{RootCAs: roots, ServerName: door.node + ".example.com", MinVersion: tls.VersionTLS12}
				if client != nil {
					config.Certificates = []tls.Certificate{*client}
				}
				return httpGet(t, fmt.Sprintf("https://127.0.0.1:%d%s", port, door.path), config)
			}
			if err := get(nil); !refused(err) {
				say("without a certificate: %v", err)
			}
			member, err := certificate.ParseKeyPair(own["tls/cert.pem"], own["tls/key.pem"])
			if err != nil {
				return err
			}
			shown := member.TLS()
			if err := get(&shown); !refused(err) {
				say("with a certificate of the organization's TLS CA: %v", err)
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
			shown = (&certificate.KeyPair{Certificate: cert, Key: key}).TLS()
			if err := get(&shown); err != nil {
				say("with a certificate of the operations root: %v", err)
			}
		}
		return errors.Join(wrong...)
	}
}

// refused tells whether the other side ended the handshake for want of a certificate that it trusts.
func refused(err error) bool {
	alert := tls.AlertError(0)
	return errors.As(err, &alert) || err != nil && strings.Contains(err.Error(), "remote error: tls:")
}

func httpGet(t *testing.T, url string, config *tls.Config) error {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// speakPlainly sends the beginning of HTTP/2 without TLS; an answer to it is success.
func speakPlainly(t *testing.T, port int) error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return err
	}
	// A frame of HTTP/2 has type 4 (SETTINGS) in its fourth byte; a TLS alert does not.
	frame := make([]byte, 9)
	if _, err := io.ReadFull(conn, frame); err != nil {
		return err
	}
	if frame[3] != 4 {
		return errors.New("no HTTP/2")
	}
	return nil
}

func caVolume(t *testing.T, name string) map[string][]byte {
	t.Helper()
	files, err := keystore.OpenVolume(localEngine(t), name).Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// nodeFiles reads the keys of a node from its volume.
func nodeFiles(t *testing.T, container string) map[string][]byte {
	t.Helper()
	files, err := localEngine(t).GetFiles(t.Context(), container, "/var/hyperledger/node/keys")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		out[strings.TrimPrefix(f.Name, "keys/")] = f.Content
	}
	return out
}

// occupy listens at an address of this host until the test is over.
func occupy(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
}

// foreignVolume makes a volume without labels.
func foreignVolume(t *testing.T, name string) {
	t.Helper()
	if _, err := dockerClient(t).VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: name}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = dockerClient(t).VolumeRemove(context.WithoutCancel(t.Context()), name, client.VolumeRemoveOptions{})
	})
}
