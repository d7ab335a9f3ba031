package provider

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	frameworkpath "github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// database gives a state_database; members that are not given are null.
func database(members map[string]attr.Value) types.Object {
	all := map[string]attr.Value{"type": types.StringNull(), "image": types.StringNull(), "image_id": types.StringNull(), "limits": types.ObjectNull(limitsTypes)}
	for name, value := range members {
		all[name] = value
	}
	return types.ObjectValueMust(stateDatabaseTypes, all)
}

func TestPlanStateDatabase(t *testing.T) {
	type members = map[string]attr.Value
	text := func(s string) types.String { return types.StringValue(s) }
	limits := types.ObjectValueMust(limitsTypes, members{"memory_mib": types.Int64Value(256), "pids": types.Int64Null(), "cpus": types.Float64Null()})
	absent, plain := types.ObjectNull(stateDatabaseTypes), database(members{"type": text(goleveldb)})
	running := database(members{"type": text(couchDB), "image": text("couchdb:3.4.2"), "image_id": text("sha256:1"), "limits": limits})
	for _, tc := range []struct {
		name                string
		prior, config, want types.Object
	}{
		{"nothing said", absent, absent, plain},
		{"goleveldb", absent, database(members{"type": text(goleveldb)}), plain},
		{"no type", plain, database(nil), plain},
		{"couchdb", absent, database(members{"type": text(couchDB)}), database(members{"type": text(couchDB), "image": text("couchdb:3.4.2"), "image_id": types.StringUnknown()})},
		{"couchdb as it is", running, database(members{"type": text(couchDB), "limits": limits}), running},
		{"other limits", running, database(members{"type": text(couchDB)}), database(members{"type": text(couchDB), "image": text("couchdb:3.4.2"), "image_id": text("sha256:1")})},
		{"another image", running, database(members{"type": text(couchDB), "image": text("mine:1")}), database(members{"type": text(couchDB), "image": text("mine:1"), "image_id": types.StringUnknown()})},
		{"lost image", database(members{"type": text(couchDB), "image": text("couchdb:3.4.2")}), database(members{"type": text(couchDB)}), database(members{"type": text(couchDB), "image": text("couchdb:3.4.2"), "image_id": types.StringUnknown()})},
		{"back to goleveldb", running, database(members{"type": text(goleveldb)}), plain},
		{"unknown", running, types.ObjectUnknown(stateDatabaseTypes), types.ObjectUnknown(stateDatabaseTypes)},
		{"unknown type", running, database(members{"type": types.StringUnknown()}), database(members{"type": types.StringUnknown(), "image": types.StringUnknown(), "image_id": types.StringUnknown()})},
		{"unknown image", running, database(members{"type": text(couchDB), "image": types.StringUnknown()}), database(members{"type": text(couchDB), "image": types.StringUnknown(), "image_id": types.StringUnknown()})},
		{"unknown limits", running, database(members{"type": text(couchDB), "limits": types.ObjectUnknown(limitsTypes)}), database(members{"type": text(couchDB), "image": text("couchdb:3.4.2"), "image_id": text("sha256:1"), "limits": types.ObjectUnknown(limitsTypes)})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := planStateDatabase(tc.prior, tc.config, text("couchdb:3.4.2")); !got.Equal(tc.want) {
				t.Errorf("planned is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestStateDatabaseImageOfARegistry(t *testing.T) {
	s := newSession(providerModel{ImageRegistry: &registryModel{Address: types.StringValue("registry.example.com/mirror/")}})
	if got := s.image("couchdb", types.StringValue(couchVersion)).ValueString(); got != "registry.example.com/mirror/couchdb:3.4.2" {
		t.Errorf("the image is %s", got)
	}
}

func TestStateDatabaseKind(t *testing.T) {
	for _, tc := range []struct {
		database types.Object
		want     types.String
	}{
		{types.Object{}, types.StringValue(goleveldb)}, // a state of before there was the attribute
		{types.ObjectNull(stateDatabaseTypes), types.StringValue(goleveldb)},
		{database(nil), types.StringValue(goleveldb)},
		{database(map[string]attr.Value{"type": types.StringValue(couchDB)}), types.StringValue(couchDB)},
		{database(map[string]attr.Value{"type": types.StringUnknown()}), types.StringUnknown()},
		{types.ObjectUnknown(stateDatabaseTypes), types.StringUnknown()},
	} {
		if got := stateDatabaseKind(tc.database); !got.Equal(tc.want) {
			t.Errorf("the type of %s is %s, want %s", tc.database, got, tc.want)
		}
	}
}

func TestStateDatabaseIsTakenAsItWasGiven(t *testing.T) {
	ctx := t.Context()
	limits := types.ObjectValueMust(limitsTypes, map[string]attr.Value{"memory_mib": types.Int64Value(256), "pids": types.Int64Value(64), "cpus": types.Float64Value(0.5)})
	for _, want := range []types.Object{
		database(map[string]attr.Value{"type": types.StringValue(goleveldb)}),
		database(map[string]attr.Value{"type": types.StringValue(couchDB), "image": types.StringValue("mine:1"), "image_id": types.StringValue("sha256:1")}),
		database(map[string]attr.Value{"type": types.StringValue(couchDB), "image": types.StringValue("mine:1"), "image_id": types.StringValue("sha256:1"), "limits": limits}),
	} {
		m, back := &peerModel{StateDatabase: want}, &peerModel{}
		var resp validator.ObjectResponse
		back.takeStateDatabase(ctx, m.stateDatabaseSpec(ctx, &resp.Diagnostics), &resp.Diagnostics)
		if !back.StateDatabase.Equal(want) || resp.Diagnostics.HasError() {
			t.Errorf("%s comes back as %s: %v", want, back.StateDatabase, resp.Diagnostics)
		}
	}
}

func TestStateDatabaseImageError(t *testing.T) {
	m := &peerModel{StateDatabase: database(map[string]attr.Value{"type": types.StringValue(couchDB), "image": types.StringValue("couchdb:9")})}
	m.Image = types.StringValue("hyperledger/fabric-peer:3.1.1")
	for reference, at := range map[string]string{"couchdb:9": "state_database", "hyperledger/fabric-peer:3.1.1": "image"} {
		var resp validator.ObjectResponse
		m.addNodeError(&resp.Diagnostics, "Unable", &engine.ImageError{Reference: reference, Host: "docker.io", Cause: errors.New("no")})
		if d, ok := resp.Diagnostics[0].(interface{ Path() frameworkpath.Path }); !ok || d.Path().String() != at {
			t.Errorf("image %s is reported as %v, want it at %s", reference, resp.Diagnostics, at)
		}
	}
}

// TestAccPlanRefusesStateDatabase: what is wrong with a state database is told without an engine.
func TestAccPlanRefusesStateDatabase(t *testing.T) {
	refusesPlan(t, offline("3.1.1")+
		peerOf("kind", `state_database = { type = "postgresql" }`)+
		peerOf("image", `state_database = { image = "couchdb:3.3.3" }`)+
		peerOf("limits", `state_database = { type = "goleveldb", limits = { memory_mib = 256 } }`)+
		peerOf("memory", `state_database = { type = "couchdb", limits = { memory_mib = 1 } }`),
		map[string][]string{
			"fabric_peer.kind":   {"state_database.type", `"goleveldb" "couchdb"`},
			"fabric_peer.image":  {"No state database to apply it to", "state_database =", "state_database.image would have no effect", `set type = "couchdb"`},
			"fabric_peer.limits": {"No state database to apply it to", "state_database =", "state_database.limits would have no effect"},
			"fabric_peer.memory": {"state_database.limits.memory_mib", "must be at least 16"},
		})
	const cache = "config = { ledger = { state = { couchDBConfig = { cacheSize = 128 } } } }\n"
	refusesPlan(t, offline("3.1.1")+`
resource "terraform_data" "later" {}
`+
		peerOf("cache", cache)+
		peerOf("password", `config = { ledger = { state = { couchDBConfig = { password = "adminpw" } } } }`)+
		peerOf("couch", cache+`state_database = { type = "couchdb" }`)+
		peerOf("later", cache+`state_database = { type = terraform_data.later.id, image = terraform_data.later.id }`)+
		peerOf("all_later", cache+`state_database = jsondecode(terraform_data.later.id)`),
		map[string][]string{
			"fabric_peer.cache":    {"ledger.state.couchDBConfig.cacheSize", "config =", "the state database is goleveldb"},
			"fabric_peer.password": {"ledger.state.couchDBConfig.password", "config =", "use the attribute state_database"},
			"fabric_peer.couch fabric_peer.later fabric_peer.all_later": nil,
		})
}

// standIn is an image with a program that takes the place of CouchDB. It is made for this run.
func standIn(t *testing.T) string {
	t.Helper()
	if os.Getenv(resource.EnvTfAcc) == "" {
		t.Skip("it needs an engine: set " + resource.EnvTfAcc + "=1")
	}
	program := filepath.Join(t.TempDir(), "couch-stand-in")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "./testdata/couch-stand-in")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("unable to build the stand-in for CouchDB: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// Laid out like the official image, owner and modes included.
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(name string, mode int64, uid int, content []byte) {
		header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Uid: uid, Gid: uid, Size: int64(len(content))}
		if strings.HasSuffix(name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	add("usr/bin/tini", 0o755, 0, content)
	for _, folder := range []string{"opt/couchdb/", "opt/couchdb/bin/", "opt/couchdb/data/", "opt/couchdb/etc/", "opt/couchdb/etc/default.d/", "opt/couchdb/etc/local.d/"} {
		add(folder, 0o755, 5984, nil)
	}
	add("opt/couchdb/bin/couchdb", 0o755, 5984, content)
	add("opt/couchdb/etc/default.ini", 0o644, 5984, []byte("[couchdb]\ndatabase_dir = ./data\n[chttpd]\nport = 5984\nbind_address = 127.0.0.1\n"))
	add("opt/couchdb/etc/default.d/10-docker-default.ini", 0o644, 5984, []byte("[chttpd]\nbind_address = any\n"))
	add("opt/couchdb/etc/local.ini", 0o644, 5984, []byte("[admins]\n;admin = mysecretpassword\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := networkName(t) + "/couch-stand-in:1"
	api := dockerClient(t)
	result, err := api.ImageImport(t.Context(), client.ImageImportSource{Source: &archive, SourceName: "-"}, name, client.ImageImportOptions{
		Changes: []string{"ENV PATH=/usr/local/bin:/usr/bin", "VOLUME /opt/couchdb/data", "EXPOSE 5984 4369 9100"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = result.Close() }()
	if _, err := io.Copy(io.Discard, result); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := api.ImageRemove(context.WithoutCancel(t.Context()), name, client.ImageRemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	return name
}

// TestAccPeerCouchDB takes a peer with CouchDB through its life, where the image is.
func TestAccPeerCouchDB(t *testing.T) {
	const image = "couchdb:" + couchVersion
	if os.Getenv(resource.EnvTfAcc) == "" {
		t.Skip("it needs an engine: set " + resource.EnvTfAcc + "=1")
	}
	if _, err := dockerClient(t).ImageInspect(t.Context(), image); err != nil {
		t.Skipf("the engine has no image %s, and it is not pulled for a test: docker pull %[1]s", image)
	}
	couchLife(t, "")
}

// TestAccPeerStateDatabase does the same with a stand-in, for all that is not CouchDB's own: the
// container and its files, the peer's credentials, the order of things, drift, loss and removal.
func TestAccPeerStateDatabase(t *testing.T) {
	couchLife(t, standIn(t))
}

// couchRun is a peer with a database beside it on a network of its own.
type couchRun struct {
	t                    *testing.T
	network, image       string
	peer, database, keys string
}

func (c couchRun) config(members, attributes string) string {
	if c.image != "" {
		members += fmt.Sprintf(", image = %q", c.image)
	}
	return plainOrganizations(c.network, "3.1.1", "orderer", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  organization   = fabric_organization.org1.handle
  name           = "peer0.org1"
  state_database = { %s }
  labels         = { team = "platform" }
  %s
}
`, members, attributes)
}

const couchUsed = `
resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  max_message_count = 1
  organizations = {
    org1 = { organization = fabric_organization.org1.handle, definition = fabric_organization.org1.definition, peers = { peer0 = fabric_peer.this.handle } }
  }
  deletion_protection = false
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer')"
  collections        = { prices = { member_policy = "OR('Org1MSP.member')" } }
  indexes = {
    "owner.json"       = jsonencode({ index = { fields = ["owner"] }, ddoc = "owner", name = "owner", type = "json" })
    "prices/size.json" = jsonencode({ index = { fields = [{ size = "desc" }] }, ddoc = "size", name = "size", type = "json" })
  }
}

resource "fabric_transaction" "first" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_organization.org1.handle
  function  = "put"
  arguments = ["greeting", "hello"]
}
`

func couchLife(t *testing.T, image string) {
	name := networkName(t)
	c := couchRun{t: t, network: name, image: image, peer: name + "-peer0.org1", database: name + "-couchdb.peer0.org1", keys: name + "-Org1MSP-keys"}
	const open = "deletion_protection = false"
	const couch = `type = "couchdb"`
	greeting := contracts{name: name}.answers(t, "hello", "get", "greeting")
	status := func(want string) resource.TestCheckFunc {
		return resource.TestCheckResourceAttr("fabric_peer.this", "status", want)
	}
	facts := &remembered{}
	kept := func(key string) resource.TestCheckFunc { return facts.same(key, "fabric_peer.this", key) }
	used := c.config(couch, open) + couchUsed
	limited := c.config(couch+", limits = { memory_mib = 512, pids = 300 }", open) + couchUsed
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{ // An image that is nowhere is found before anything is made.
				Config:      couchRun{network: name, image: "127.0.0.1:1/nowhere/couchdb:9"}.config(couch, open),
				ExpectError: says("Unable to create peer peer0.org1", "state_database =", "image", "could not be pulled from 127.0.0.1:1"),
			},
			{
				Config: used,
				Check: resource.ComposeTestCheckFunc(status("running"), c.runs, c.keepsTheSecret, c.holdsTheState, c.indexed, greeting,
					facts.take("state_database.image_id", "fabric_peer.this", "state_database.image_id"), facts.take("tls_certificate", "fabric_peer.this", "tls_certificate")),
			},
			{ResourceName: "fabric_peer.this", ImportState: true, ImportStateId: name + "/peer0.org1", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore: []string{"deletion_protection", "timeouts"}},
			{ // The database is stopped: the peer says so, and one apply repairs both.
				PreConfig:    func() { stopNode(t, c.database) },
				RefreshState: true, ExpectNonEmptyPlan: true,
				Check: status("stopped"),
			},
			{
				PreConfig:        func() { stopNode(t, c.database) },
				Config:           used,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("fabric_peer.this", plancheck.ResourceActionUpdate)}},
				Check:            resource.ComposeTestCheckFunc(status("running"), c.runs, greeting),
			},
			{ // Its container is gone.
				PreConfig: func() { removeNodes(t, func(n engine.Node) bool { return n.Name == c.database }) },
				Config:    used, Check: resource.ComposeTestCheckFunc(status("running"), c.runs, greeting),
			},
			{ // Other limits make another container on the same volume, and nothing else of the peer.
				Config:           limited,
				ConfigPlanChecks: onlyUpdated("fabric_peer.this"),
				Check:            resource.ComposeTestCheckFunc(c.limited, c.runs, greeting, kept("state_database.image_id"), kept("tls_certificate")),
			},
			{Config: c.config(couch, open+"\n  desired_state = \"stopped\"") + couchUsed, Check: resource.ComposeTestCheckFunc(status("stopped"), c.rests)},
			{Config: used, Check: resource.ComposeTestCheckFunc(status("running"), c.runs, greeting)},
			// The state of a ledger cannot pass from one database to another.
			{Config: c.config(couch, "deletion_protection = true") + couchUsed},
			{
				Config:      couchRun{network: name}.config(`type = "goleveldb"`, "deletion_protection = true") + couchUsed,
				ExpectError: says("Protected from deletion", "deletion_protection", "would lose a ledger"),
			},
			{Config: used},
			{ // Its volume is lost, which is a loss like any other: told at plan, and accepted at will.
				PreConfig: func() {
					stopNode(t, c.peer)
					removeNodes(t, func(n engine.Node) bool { return n.Name == c.database })
					removeVolume(t, c.database)
				},
				Config: used, ExpectError: says("The volume is gone", "accept_data_loss"),
			},
			{ // The peer makes the state again from its blocks.
				Config: c.config(couch, open+"\n  accept_data_loss = true") + couchUsed,
				Check:  resource.ComposeTestCheckFunc(status("running"), c.runs, c.holdsTheState, greeting, kept("tls_certificate")),
			},
			{ // A peer that rests leaves its channel with its database awake.
				Config: c.config(couch, open+"\n  desired_state = \"stopped\"") + couchUsed,
			},
			{Config: c.config(couch, open+"\n  desired_state = \"stopped\""), Check: c.rests},
			{ // Another type is another peer.
				Config:           couchRun{network: name}.config(`type = "goleveldb"`, open),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("fabric_peer.this", plancheck.ResourceActionReplace)}},
				Check: func(*terraform.State) error {
					if _, err := localEngine(t).Volume(t.Context(), c.database); !errors.Is(err, engine.ErrNotFound) {
						return fmt.Errorf("the volume of the database is left: %w", err)
					}
					if len(caVolume(t, c.keys)["state_databases/peer0.org1"]) != 0 {
						return errors.New("the password of the database is left")
					}
					return nil
				},
			},
		},
	})
}

// runs inspects the database and the peer.
func (c couchRun) runs(*terraform.State) error {
	var wrong []error
	no := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	database, peer := inspect(c.t, c.database), inspect(c.t, c.peer)
	host := database.HostConfig
	if !database.State.Running || !peer.State.Running || peer.RestartCount != 0 || database.RestartCount != 0 {
		no("the database is %s, the peer %s", database.State.Status, peer.State.Status)
	}
	if started, after := database.State.StartedAt, peer.State.StartedAt; started >= after {
		no("the database was started at %s, the peer before it at %s", started, after)
	}
	if database.Config.User != "5984:5984" || !host.ReadonlyRootfs || !slices.Equal(host.CapDrop, []string{"ALL"}) || len(host.CapAdd) != 0 ||
		!slices.Contains(host.SecurityOpt, "no-new-privileges:true") || host.Privileged {
		no("the database is not hardened: %+v", host)
	}
	if len(host.PortBindings) != 0 {
		no("the database publishes %v", host.PortBindings)
	}
	if database.Config.Labels["team"] != "platform" {
		no("the labels of the database are %v", database.Config.Labels)
	}
	return errors.Join(wrong...)
}

func (c couchRun) limited(*terraform.State) error {
	if have := inspect(c.t, c.database).HostConfig; have.Memory != 512<<20 || have.PidsLimit == nil || *have.PidsLimit != 300 {
		return fmt.Errorf("the limits of the database are %+v", have.Resources)
	}
	if have := inspect(c.t, c.peer).HostConfig; have.Memory != 0 {
		return fmt.Errorf("the peer got the limits of its database: %+v", have.Resources)
	}
	return nil
}

func (c couchRun) rests(*terraform.State) error {
	for _, name := range []string{c.peer, c.database} {
		if inspect(c.t, name).State.Running {
			return fmt.Errorf("%s runs", name)
		}
	}
	return nil
}

// holdsTheState looks for the channel and the chaincode among the databases.
func (c couchRun) holdsTheState(*terraform.State) error {
	files, err := localEngine(c.t).GetFiles(c.t.Context(), c.database, "/var/hyperledger/node/data")
	if err != nil {
		return err
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name)
	}
	for _, want := range []string{"trade_.", "trade_kv."} {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, want) }) {
			return fmt.Errorf("no database %s among %q", want, names)
		}
	}
	return nil
}

// indexed looks in the peer's log for what it says when its database took an index.
func (c couchRun) indexed(*terraform.State) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	lines, err := localEngine(c.t).Logs(ctx, c.peer, 100000)
	if err != nil {
		return err
	}
	log := strings.Join(lines, "\n")
	for _, file := range []string{"META-INF/statedb/couchdb/indexes/owner.json] for chaincode [kv]", "META-INF/statedb/couchdb/collections/prices/indexes/size.json] for chaincode [kv$$pprices]"} {
		if want := "successfully submitted index creation request present in the file [" + file; !strings.Contains(log, want) {
			err = errors.Join(err, fmt.Errorf("the peer did not say %q", want))
		}
	}
	return err
}

// keepsTheSecret looks for the password wherever it must not be.
func (c couchRun) keepsTheSecret(state *terraform.State) error {
	password := string(caVolume(c.t, c.keys)["state_databases/peer0.org1"])
	if len(password) < 27 {
		return fmt.Errorf("the key volume has a password of %d characters", len(password))
	}
	peer, database := inspect(c.t, c.peer), inspect(c.t, c.database)
	places := map[string]string{
		"the state": state.String(), "the peer's labels": fmt.Sprint(peer.Config.Labels),
		"the database's container": fmt.Sprint(database.Config),
	}
	if !slices.Contains(peer.Config.Env, "CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD="+password) {
		return errors.New("the peer does not have the password")
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	e := localEngine(c.t)
	for _, node := range []string{c.peer, c.database} {
		lines, err := e.Logs(ctx, node, 100000)
		if err != nil {
			return err
		}
		places["the log of "+node] = strings.Join(lines, "\n")
		files, err := e.GetFiles(ctx, node, "/var/hyperledger/node")
		if err != nil {
			return err
		}
		for _, file := range files {
			places[file.Name+" of "+node] = string(file.Content)
		}
	}
	if log := places["the log of "+c.peer]; !strings.Contains(log, "CouchDB") && !strings.Contains(log, "couchdb") {
		return errors.New("the peer's log says nothing of its database")
	}
	for place, text := range places {
		if strings.Contains(text, password) {
			return fmt.Errorf("the password is in %s", place)
		}
	}
	return nil
}
