package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/archive"
	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// backedUp is a network of two organizations that is backed up and restored: org1 has two peers.
type backedUp struct {
	name, version string
	// network are further attributes of the network, cluster of the ordering cluster.
	network, cluster string
	// nodes are those of the ordering cluster.
	nodes string
	// archive is the path of the backup; empty takes none. run is the trigger of it and of a transaction.
	archive string
	run     int
}

const backupPassphrase = "canary-of-the-backup-7Qd1"

func (b backedUp) String() string {
	config := plainOrganizations(b.name, b.version, "orderer", "org1", "org2")
	config = strings.Replace(config, `  domain = "example.com"`, "  domain = \"example.com\"\n  "+b.network, 1)
	config += fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { %s }
  deletion_protection = false
  %s
}
`, b.nodes, b.cluster)
	for _, p := range []string{"peer0_org1", "peer1_org1", "peer0_org2"} {
		config += fmt.Sprintf(`
resource "fabric_peer" %[1]q {
  organization        = fabric_organization.%[2]s.handle
  name                = "%[3]s.%[2]s"
  deletion_protection = false
}
`, p, p[6:], p[:5])
	}
	config += `
resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = { organization = fabric_organization.org1.handle, definition = fabric_organization.org1.definition, peers = { peer0 = fabric_peer.peer0_org1.handle, peer1 = fabric_peer.peer1_org1.handle } }
    org2 = { organization = fabric_organization.org2.handle, definition = fabric_organization.org2.definition, peers = { peer0 = fabric_peer.peer0_org2.handle } }
  }
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
  collections        = { secrets = { member_policy = "OR('Org1MSP.member')" } }
}

resource "fabric_identity" "clerk" {
  organization = fabric_organization.org1.handle
  name         = "clerk"
}

resource "fabric_transaction" "put" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_identity.clerk.handle
  function  = "put"
  arguments = ["greeting", "hello"]
}

resource "fabric_transaction" "again" {
  chaincode  = fabric_chaincode.kv.handle
  identity   = fabric_identity.clerk.handle
  function   = "put"
  arguments  = ["greeting", "hello"]
  depends_on = [fabric_transaction.put]
}

resource "fabric_transaction" "secret" {
  chaincode               = fabric_chaincode.kv.handle
  identity                = fabric_organization.org1.handle
  function                = "putPrivate"
  arguments               = ["secrets", "price"]
  transient_wo            = { value = "100" }
  transient_wo_version    = "1"
  endorsing_organizations = ["Org1MSP"]
}
`
	if b.run > 0 {
		config += fmt.Sprintf(`
resource "fabric_transaction" "run" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_organization.org2.handle
  function  = "put"
  arguments = ["run", "%[1]d"]
  triggers  = { run = "%[1]d" }
}
`, b.run)
	}
	if b.archive != "" {
		config += fmt.Sprintf(`
resource "fabric_backup" "this" {
  network       = fabric_network.this.handle
  path          = %q
  passphrase_wo = %q
  triggers      = { run = "%d" }
  depends_on    = [fabric_transaction.put, fabric_transaction.again, fabric_transaction.secret]
}
`, b.archive, backupPassphrase, b.run)
	}
	return config
}

// restoring is the attribute of a network that is made from the archive.
func restoring(path string) string {
	return fmt.Sprintf("restore_from = { path = %q, passphrase_wo = %q }", path, backupPassphrase)
}

// beforeRestore are attributes of the state that are to be the same after a restore.
type beforeRestore struct{ attributes map[string]string }

var sameAfterRestore = []string{
	"fabric_network.this owner_id", "fabric_transaction.put transaction_id", "fabric_transaction.again transaction_id",
	"fabric_transaction.secret transaction_id", "fabric_transaction.put block",
	"fabric_ca.org1 certificate", "fabric_ca.orderer tls_certificate", "fabric_organization.org1 admin_certificate",
	"fabric_peer.peer1_org1 tls_certificate", "fabric_peer.peer1_org1 enrollment_certificate",
}

func attributesOf(state *terraform.State) map[string]string {
	out := map[string]string{}
	for _, at := range sameAfterRestore {
		address, name, _ := strings.Cut(at, " ")
		out[at] = state.RootModule().Resources[address].Primary.Attributes[name]
	}
	return out
}

func (r *beforeRestore) keep(state *terraform.State) error {
	r.attributes = attributesOf(state)
	for at, value := range r.attributes {
		if value == "" {
			return fmt.Errorf("%s is empty", at)
		}
	}
	if r.attributes["fabric_transaction.put transaction_id"] == r.attributes["fabric_transaction.again transaction_id"] {
		return errors.New("one transaction was taken for two")
	}
	return nil
}

func (r *beforeRestore) same(state *terraform.State) error {
	var wrong []error
	for at, now := range attributesOf(state) {
		if now != r.attributes[at] {
			wrong = append(wrong, fmt.Errorf("%s is %q, and was %q", at, now, r.attributes[at]))
		}
	}
	return errors.Join(wrong...)
}

// watchDown looks again and again which nodes of a network do not run, and gives the most of each group that
// were down at a time.
func watchDown(t *testing.T, name string) (end func() map[string]int) {
	t.Helper()
	e := localEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	most := map[string]int{}
	var watch sync.WaitGroup
	watch.Go(func() {
		again := time.NewTicker(20 * time.Millisecond)
		defer again.Stop()
		for ctx.Err() == nil {
			nodes, err := e.Nodes(ctx, map[string]string{engine.LabelNetwork: name})
			if err != nil {
				continue
			}
			now := map[string]int{}
			for _, n := range nodes {
				if n.Status != engine.Running && n.Labels[engine.LabelPrefix+"keeper"] == "" {
					now[n.Labels[engine.LabelKind]+" "+n.Labels[engine.LabelPrefix+"msp_id"]]++
				}
			}
			for group, count := range now {
				most[group] = max(most[group], count)
			}
			select {
			case <-ctx.Done():
			case <-again.C:
			}
		}
	})
	return func() map[string]int { cancel(); watch.Wait(); return most }
}

// startTimes gives when each node of a network was started, as the engine says.
func startTimes(t *testing.T, name string) map[string]string {
	t.Helper()
	nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: name})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range nodes {
		found, err := dockerClient(t).ContainerInspect(t.Context(), n.Name, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(n.Name, name+"-")] = found.Container.State.StartedAt
	}
	return out
}

// requireRestarts checks that each CA and each peer stood still once, and one ordering node alone.
func requireRestarts(before, after map[string]string) error {
	var wrong []error
	orderers := 0
	for node, started := range before {
		again := after[node] != started
		switch {
		case strings.HasPrefix(node, "orderer") && again:
			orderers++
		case (strings.HasPrefix(node, "ca.") || strings.HasPrefix(node, "peer")) && !strings.HasSuffix(node, "-keys") && !again:
			wrong = append(wrong, fmt.Errorf("%s was read while it ran", node))
		}
	}
	if orderers != 1 {
		wrong = append(wrong, fmt.Errorf("%d ordering nodes were stopped", orderers))
	}
	return errors.Join(wrong...)
}

// heightsOf gives the height of every node of the channel, when all have the same: a node that was restored
// fetches what it lacks.
func heightsOf(t *testing.T, name string) (height uint64, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		facts, failed := channelFacts(t, name)
		if err = failed; err == nil {
			for node, height := range facts.Heights {
				if height != facts.Height {
					err = errors.Join(err, fmt.Errorf("%s has %d of %d blocks", node, height, facts.Height))
				}
			}
			if err == nil {
				return facts.Height, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-again.C:
		}
	}
}

// keysIn gives the digests of all private keys that the manifest of an archive lists.
func keysIn(manifest archive.Manifest) map[string]string {
	out := map[string]string{}
	for _, v := range manifest.Volumes {
		for _, f := range v.Files {
			if strings.HasSuffix(f.Name, "key.pem") && f.Size > 0 {
				out[v.Name+" "+f.Name] = f.SHA256
			}
		}
	}
	return out
}

// keysOnEngine gives the digests of the same files as they are on the engine.
func keysOnEngine(t *testing.T, want map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for at := range want {
		volume, name, _ := strings.Cut(at, " ")
		root := "/var/hyperledger"
		if strings.HasPrefix(name, "store/") {
			root = "/keys"
		}
		files, err := localEngine(t).GetFiles(t.Context(), volume, path.Join(root, name))
		if err != nil || len(files) != 1 {
			t.Errorf("%s: %v", at, err)
			continue
		}
		sum := sha256.Sum256(files[0].Content)
		out[at] = hex.EncodeToString(sum[:])
	}
	return out
}

// TestLongBackup backs a network up, removes all of it, and makes it again from the archive.
func TestLongBackup(t *testing.T) {
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			testBackup(t, backedUp{version: version, nodes: "orderer0 = {}, orderer1 = {}, orderer2 = {}"})
		})
	}
}

// TestLongBackupBFT: nodes of SmartBFT begin with what one of them had ordered, and nothing that they signed.
func TestLongBackupBFT(t *testing.T) {
	testBackup(t, backedUp{version: "3.1.1", nodes: "orderer0 = {}, orderer1 = {}, orderer2 = {}, orderer3 = {}", cluster: `consensus = "bft"`})
}

// TestLongBackupUnderLoad backs a network up while 25 values a second are written. What is restored goes
// together, though no two parts of it were read at the same time, and is written to again.
func TestLongBackupUnderLoad(t *testing.T) {
	requireLong(t)
	b := backedUp{name: networkName(t), version: "3.1.1", nodes: "orderer0 = {}, orderer1 = {}, orderer2 = {}"}
	file := filepath.Join(t.TempDir(), "network.backup")
	with := func(change func(*backedUp)) string {
		change(&b)
		return busy(b.String())
	}
	before, after := &underLoad{t: t, network: b.name}, &underLoad{t: t, network: b.name}
	var manifest archive.Manifest
	sweepNetwork(t, b.name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, b.name),
		Steps: []resource.TestStep{
			{Config: with(func(*backedUp) {})},
			{
				PreConfig: before.next("a backup"),
				Config:    with(func(b *backedUp) { b.archive = file }),
				Check: resource.ComposeTestCheckFunc(before.finish, func(*terraform.State) (err error) {
					manifest, _, err = archive.Verify(file, backupPassphrase)
					return err
				}),
			},
		},
	})
	if t.Failed() {
		return
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, b.name),
		Steps: []resource.TestStep{
			{
				Config: with(func(b *backedUp) { b.archive, b.network = "", restoring(file) }),
				Check: func(*terraform.State) error {
					height, err := heightsOf(t, b.name)
					if t.Logf("%d blocks, and at least %d in the archive", height, manifest.Heights["trade"]); height < manifest.Heights["trade"] {
						err = errors.Join(err, errors.New("blocks are lost"))
					}
					return err
				},
			},
			{
				PreConfig: after.next("after the restore"),
				Config:    with(func(b *backedUp) { b.run = 1 }),
				Check:     after.finish,
			},
		},
	})
}

// TestLongVolumesSurvivePrune: of a network's volumes the engine's prune takes none, neither those with keys nor
// that of a node which was destroyed with its volume kept.
func TestLongVolumesSurvivePrune(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	config := plainOrganizations(name, "3.1.1", "org1")
	peer := `
resource "fabric_peer" "this" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
  on_destroy          = %q
}
`
	volumes := func() (names []string) {
		found, err := localEngine(t).Volumes(t.Context(), map[string]string{engine.LabelNetwork: name})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range found {
			names = append(names, strings.TrimPrefix(v.Name, name+"-"))
		}
		slices.Sort(names)
		return names
	}
	pruned := func(*terraform.State) error {
		before := volumes()
		if want := []string{"Org1MSP-keys", "ca.org1", "ca.org1-keys", "peer0.org1"}; !slices.Equal(before, want) {
			return fmt.Errorf("the volumes are %v, want %v", before, want)
		}
		c, major, minor := dockerClient(t), 0, 0
		ping, err := c.Ping(t.Context(), client.PingOptions{NegotiateAPIVersion: true})
		if _, scan := fmt.Sscanf(ping.APIVersion, "%d.%d", &major, &minor); err != nil || scan != nil {
			return errors.Join(err, scan)
		}
		// What nobody references goes, or the prune would prove nothing.
		owner := map[string]string{engine.LabelNetwork: name, engine.LabelOwner: "nobody"}
		if err := localEngine(t).CreateVolume(t.Context(), engine.VolumeSpec{Name: name + "-bait", Labels: owner}); err != nil {
			return err
		}
		// The filter keeps what is others' out of it; whether anybody references a volume is the engine's to say.
		// Since API 1.42, named volumes are pruned only when all are asked for.
		_, err = c.VolumePrune(t.Context(), client.VolumePruneOptions{
			All: minor >= 42, Filters: make(client.Filters).Add("label", engine.LabelNetwork+"="+name),
		})
		if after := volumes(); !slices.Equal(after, before) {
			err = errors.Join(err, fmt.Errorf("of %v the prune left %v", before, after))
		}
		return err
	}
	same := ""
	certificate := func(state *terraform.State) error {
		now := state.RootModule().Resources["fabric_peer.this"].Primary.Attributes["tls_certificate"]
		if same != "" && now != same {
			return errors.New("the peer has another certificate than before")
		}
		same = now
		return nil
	}
	sweepNetwork(t, name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: config + fmt.Sprintf(peer, "keep"), Check: resource.ComposeTestCheckFunc(certificate, pruned)},
			{Config: config, Check: pruned},
			{Config: config + fmt.Sprintf(peer, "delete"), Check: resource.ComposeTestCheckFunc(certificate, pruned, func(*terraform.State) error { return noKeepers(t, name) })},
		},
	})
}

func testBackup(t *testing.T, b backedUp) {
	requireLong(t)
	b.name = networkName(t)
	file := filepath.Join(t.TempDir(), "network.backup")
	with := func(change func(*backedUp)) string {
		change(&b)
		return b.String()
	}
	before, height := beforeRestore{}, uint64(0)
	var manifest archive.Manifest
	var endWatch func() map[string]int
	var started map[string]string
	sweepNetwork(t, b.name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, b.name),
		Steps: []resource.TestStep{
			{Config: with(func(*backedUp) {}), Check: before.keep},
			{
				PreConfig: func() { started, endWatch = startTimes(t, b.name), watchDown(t, b.name) },
				Config:    with(func(b *backedUp) { b.archive = file }),
				Check: func(state *terraform.State) error {
					most := endWatch()
					t.Logf("down while it was taken: %v", most)
					for group, count := range most {
						if count > 1 {
							return fmt.Errorf("%d of %s were down at a time", count, group)
						}
					}
					if err := requireRestarts(started, startTimes(t, b.name)); err != nil {
						return err
					}
					var err error
					if height, err = heightsOf(t, b.name); err != nil {
						return err
					}
					attributes := state.RootModule().Resources["fabric_backup.this"].Primary.Attributes
					var digest string
					if manifest, digest, err = archive.Verify(file, backupPassphrase); err != nil {
						return err
					}
					if digest != attributes["manifest_sha256"] || fmt.Sprint(manifest.Heights["trade"]) != fmt.Sprint(height) || attributes["heights.trade"] != fmt.Sprint(height) {
						return fmt.Errorf("the state says %v; the manifest has the digest %s and heights %v; the channel has %d", attributes, digest, manifest.Heights, height)
					}
					raw, err := os.ReadFile(file)
					if sum := sha256.Sum256(raw); err != nil || hex.EncodeToString(sum[:]) != attributes["sha256"] || fmt.Sprint(len(raw)) != attributes["size_bytes"] {
						return fmt.Errorf("the archive is not what the state says: %w", err)
					}
					t.Logf("the archive has %d bytes, %d volumes, %d keys", len(raw), len(manifest.Volumes), len(keysIn(manifest)))
					return nil
				},
			},
			{ // Where a network is, none is restored.
				Config: strings.Replace(with(func(b *backedUp) {}), `resource "fabric_network" "this"`, `resource "fabric_network" "other" { 
  name   = fabric_network.this.name
  domain = "example.com"
  `+restoring(file)+`
}
resource "fabric_network" "this"`, 1),
				ExpectError: says("Unable to restore network", "is on the engine already", "owner_id"),
			},
			// What becomes of the network afterwards is not in the archive.
			{Config: with(func(b *backedUp) { b.archive, b.run = "", 1 })},
		},
	})
	if t.Failed() {
		return
	}
	keys := keysIn(manifest)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, b.name),
		Steps: []resource.TestStep{
			{
				Config:      strings.Replace(with(func(b *backedUp) { b.run, b.network = 0, restoring(file) }), backupPassphrase, "another passphrase", 1),
				ExpectError: says("passphrase is not the one that the archive was written with"),
			},
			{
				Config:      strings.Replace(b.String(), `"example.com"`, `"example.org"`, 1),
				ExpectError: says("domain", "the archive is of a network with the domain"),
			},
			{
				Config: b.String(),
				Check: resource.ComposeTestCheckFunc(before.same, func(*terraform.State) error {
					now, err := heightsOf(t, b.name)
					if err == nil && now != height {
						err = fmt.Errorf("the channel has %d blocks, and had %d", now, height)
					}
					if have := keysOnEngine(t, keys); !maps.Equal(have, keys) {
						err = errors.Join(err, fmt.Errorf("the keys are %v, and were %v", have, keys))
					}
					return errors.Join(err, noKeepers(t, b.name))
				}),
			},
			{
				Config: with(func(b *backedUp) { b.run, b.network = 2, "" }),
				Check: resource.ComposeTestCheckFunc(before.same, func(*terraform.State) error {
					now, err := heightsOf(t, b.name)
					if err == nil && now != height+1 {
						err = fmt.Errorf("the channel has %d blocks after one more than %d", now, height)
					}
					return err
				}),
			},
		},
	})
}

// noKeepers checks that nodes which have containers have no keepers beside them.
func noKeepers(t *testing.T, name string) error {
	t.Helper()
	nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: name, engine.LabelPrefix + "once": "true"})
	for _, n := range nodes {
		err = errors.Join(err, fmt.Errorf("container %s is left", n.Name))
	}
	return err
}
