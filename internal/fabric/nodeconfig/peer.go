package nodeconfig

import (
	"fmt"
	"slices"
	"time"
)

// Peer is what the provider sets in core.yaml. Paths are absolute, addresses
// are HOST:PORT.
type Peer struct {
	ID    string // peer.id
	MSPID string // peer.localMspId

	ListenAddress    string   // where the peer serves, inside the container
	Address          string   // where the peers of its own organization reach it
	ExternalEndpoint string   // where peers of other organizations and clients reach it
	GossipBootstrap  []string // peers of its own organization to contact first; may be itself

	ChaincodeListenAddress string // where chaincode that the peer started connects to
	ChaincodeAddress       string // the same as that chaincode sees it

	MSPDir      string // the local MSP, with keystore
	DataDir     string // ledgers, chaincode packages, transient store
	SnapshotDir string // ledger snapshots; empty is "snapshots" below DataDir

	TLS        ServerTLS
	Operations Endpoint

	// CouchDB is the state database; nil is goleveldb.
	CouchDB *CouchDB
	// ExternalBuilders detect and build chaincode; empty is the builder for
	// chaincode as a service that Fabric's own image holds.
	ExternalBuilders []ExternalBuilder
}

// ServerTLS are the TLS files of a node's main listener, which also identify the
// node when it connects to others.
type ServerTLS struct {
	CertFile, KeyFile string
	RootFiles         []string // additional roots that servers are checked against; a peer takes at most one file
	ClientAuth        bool     // clients must present a certificate
	ClientRootFiles   []string // additional roots for client certificates, beside those of the channels
}

// Endpoint is an HTTPS listener that asks every client for a certificate.
type Endpoint struct {
	ListenAddress     string
	CertFile, KeyFile string
	ClientRootFiles   []string // the only roots whose clients are let in
}

// CouchDB says where a peer's state database is. The password is not part of
// it: it goes into the environment, as CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD.
type CouchDB struct {
	Address  string
	Username string
}

// ExternalBuilder is an entry of chaincode.externalBuilders.
type ExternalBuilder struct {
	Name                 string
	Path                 string // the folder that holds bin/detect, bin/build and bin/release
	PropagateEnvironment []string
}

// CCaaSBuilder is the builder for chaincode as a service, by the name and at
// the path of Fabric's own peer image. It replaces template values in
// connection.json by those of the environment variable it propagates.
func CCaaSBuilder() ExternalBuilder {
	return ExternalBuilder{
		Name:                 "ccaas_builder",
		Path:                 "/opt/hyperledger/ccaas_builder",
		PropagateEnvironment: []string{"CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"},
	}
}

// reconnectBackoff is the longest pause of a peer before it connects to an
// orderer again. Fabric's default of an hour keeps a peer away long after its
// orderers are back.
const reconnectBackoff = 15 * time.Second

// gossipReconnect is how often a peer tries an anchor peer that did not answer.
// Peers that join a channel together find each other not ready at the first
// try; with Fabric's default of 25 s the discovery service, and so every
// gateway client, knows no other organization until the second one.
const gossipReconnect = 2 * time.Second

// peerOpinions are the values that differ from Fabric's defaults and that an
// overlay may change.
func peerOpinions() tree {
	t := tree{}
	t.put("peer.deliveryclient.reConnectBackoffThreshold", reconnectBackoff.String())
	t.put("peer.gossip.reconnectInterval", gossipReconnect.String())
	t.put("metrics.provider", "prometheus")
	return t
}

// ValidatePeer finds everything that is wrong with the core.yaml that
// [RenderPeer] would make of the same arguments. Problems with the Peer itself
// have the path of the key that they concern. An unsupported version is a
// problem without a path.
func ValidatePeer(v Version, p Peer, o Overlay) []Problem {
	_, problems := p.build(v, o)
	return problems
}

// RenderPeer makes the core.yaml of a peer. The same arguments give the same
// bytes. The error is an [*InvalidError] that holds every problem, or wraps
// [ErrUnsupportedVersion].
func RenderPeer(v Version, p Peer, o Overlay) ([]byte, error) {
	return render(KindPeer, v, func() (tree, []Problem) { return p.build(v, o) })
}

func (p Peer) build(v Version, o Overlay) (tree, []Problem) {
	return build(KindPeer, v, p.settings(), o, p.check)
}

// settings are the values of the provider. Every key that is reserved in
// coreKeys, and that Fabric needs, is set here.
func (p Peer) settings() tree {
	t := peerOpinions()

	t.put("peer.id", p.ID)
	t.put("peer.localMspId", p.MSPID)
	t.put("peer.localMspType", "bccsp")
	t.put("peer.mspConfigPath", p.MSPDir)
	t.put("peer.fileSystemPath", p.DataDir)
	t.put("peer.BCCSP", softwareCrypto())

	t.put("peer.listenAddress", p.ListenAddress)
	t.put("peer.address", p.Address)
	t.put("peer.addressAutoDetect", false)
	t.put("peer.chaincodeListenAddress", p.ChaincodeListenAddress)
	t.put("peer.chaincodeAddress", p.ChaincodeAddress)
	t.put("peer.gossip.externalEndpoint", p.ExternalEndpoint)
	t.put("peer.gossip.bootstrap", stringList(p.GossipBootstrap))
	t.put("peer.gateway.enabled", true)
	t.put("peer.discovery.enabled", true)

	t.put("peer.tls.enabled", true)
	t.put("peer.tls.cert.file", p.TLS.CertFile)
	t.put("peer.tls.key.file", p.TLS.KeyFile)
	if len(p.TLS.RootFiles) > 0 {
		t.put("peer.tls.rootcert.file", p.TLS.RootFiles[0])
	}
	t.put("peer.tls.clientAuthRequired", p.TLS.ClientAuth)
	t.put("peer.tls.clientRootCAs.files", stringList(p.TLS.ClientRootFiles))

	t.put("operations.listenAddress", p.Operations.ListenAddress)
	t.put("operations.tls.enabled", true)
	t.put("operations.tls.clientAuthRequired", true)
	t.put("operations.tls.cert.file", p.Operations.CertFile)
	t.put("operations.tls.key.file", p.Operations.KeyFile)
	t.put("operations.tls.clientRootCAs.files", stringList(p.Operations.ClientRootFiles))

	t.put("ledger.state.stateDatabase", "goleveldb")
	if p.CouchDB != nil {
		t.put("ledger.state.stateDatabase", "CouchDB")
		t.put("ledger.state.couchDBConfig.couchDBAddress", p.CouchDB.Address)
		t.put("ledger.state.couchDBConfig.username", p.CouchDB.Username)
	}
	t.put("ledger.snapshots.rootDir", p.snapshotDir())

	// Empty, not absent: an absent endpoint is no different to Fabric, but the
	// environment of an image could set it, and a set value is visible.
	t.put("vm.endpoint", "")
	t.put("chaincode.mode", "net")
	for _, name := range []string{"_lifecycle", "cscc", "qscc"} {
		t.put("chaincode.system."+name, "enable")
	}
	builders := p.ExternalBuilders
	if len(builders) == 0 {
		builders = []ExternalBuilder{CCaaSBuilder()}
	}
	list := make([]any, len(builders))
	for i, b := range builders {
		list[i] = map[string]any{"name": b.Name, "path": b.Path, "propagateEnvironment": stringList(b.PropagateEnvironment)}
	}
	t.put("chaincode.externalBuilders", list)
	return t
}

func (p Peer) snapshotDir() string {
	if p.SnapshotDir == "" {
		return p.DataDir + "/snapshots"
	}
	return p.SnapshotDir
}

// check is about what the provider hands in. What it has in common with an
// overlay is in peerRules.
func (p Peer) check(c *config) {
	c.named("peer.id", p.ID)
	c.named("peer.localMspId", p.MSPID)
	c.absolutePath("peer.mspConfigPath", p.MSPDir)
	c.absolutePath("peer.fileSystemPath", p.DataDir)
	c.absolutePath("ledger.snapshots.rootDir", p.snapshotDir())

	c.endpoint("peer.listenAddress", p.ListenAddress)
	c.endpoint("peer.address", p.Address)
	c.endpoint("peer.gossip.externalEndpoint", p.ExternalEndpoint)
	for i, address := range p.GossipBootstrap {
		c.endpoint(index("peer.gossip.bootstrap", i), address)
	}
	c.endpoint("peer.chaincodeListenAddress", p.ChaincodeListenAddress)
	c.endpoint("peer.chaincodeAddress", p.ChaincodeAddress)

	c.absolutePath("peer.tls.cert.file", p.TLS.CertFile)
	c.absolutePath("peer.tls.key.file", p.TLS.KeyFile)
	if len(p.TLS.RootFiles) > 1 {
		c.refuse("peer.tls.rootcert.file", "put the roots into one file", "peer.tls.rootcert.file takes one file, given %d", len(p.TLS.RootFiles))
	}
	c.absolutePaths("peer.tls.rootcert.file", p.TLS.RootFiles, false)
	c.absolutePaths("peer.tls.clientRootCAs.files", p.TLS.ClientRootFiles, false)

	c.endpoint("operations.listenAddress", p.Operations.ListenAddress)
	c.absolutePath("operations.tls.cert.file", p.Operations.CertFile)
	c.absolutePath("operations.tls.key.file", p.Operations.KeyFile)
	c.absolutePaths("operations.tls.clientRootCAs.files", p.Operations.ClientRootFiles, true)

	if p.CouchDB != nil {
		c.endpoint("ledger.state.couchDBConfig.couchDBAddress", p.CouchDB.Address)
	}
}

// builtinHandlers are the methods of HandlerLibrary in Fabric's
// core/handlers/library. A peer panics when a handler without a library has
// another name.
func builtinHandlers(v Version) map[string][]string {
	filters := []string{"DefaultAuth", "ExpirationCheck"}
	if v.Major() >= 3 {
		filters = append(filters, "TimeWindowCheck")
	}
	return map[string][]string{
		"authFilters": filters,
		"decorators":  {"DefaultDecorator"},
		"endorsers":   {"DefaultEndorsement"},
		"validators":  {"DefaultValidation"},
	}
}

// peerRules are the combinations that a peer refuses, or whose effect is not
// what their author can have meant.
func peerRules(c *config, v Version) {
	const (
		election = "peer.gossip.useLeaderElection"
		leader   = "peer.gossip.orgLeader"
		transfer = "peer.gossip.state.enabled"
	)
	elects, _ := c.boolean(election)
	leads, leadsKnown := c.boolean(leader)
	if elects && leads {
		c.refuse(c.blame(election, leader), "set "+leader+" to false as well, or leave both alone",
			"%s and %s are both true: the peer would panic", election, leader)
	}
	if transfers, ok := c.boolean(transfer); ok && !transfers && leadsKnown && !leads {
		c.refuse(c.blame(leader, election, transfer), "set "+transfer+" to true",
			"%s is false and %s is false: a peer that does not lead could never catch up with blocks that it missed", leader, transfer)
	}

	c.below("peer.keepalive.minInterval", "peer.keepalive.client.interval", true, "peers with these settings would close each other's connections")
	c.below("peer.gossip.digestWaitTime", "peer.gossip.requestWaitTime", false, "digests would be dropped before they are answered")
	c.below("peer.gossip.aliveTimeInterval", "peer.gossip.aliveExpirationTimeout", false, "peers would count each other as dead between two heartbeats")
	c.below("peer.gossip.pvtData.reconcileSleepInterval", "ledger.pvtdataStore.deprioritizedDataReconcilerInterval", false, "Fabric needs the order")
	c.below("peer.deliveryclient.minimalReconnectInterval", "peer.deliveryclient.reConnectBackoffThreshold", true, "the pause grows from one to the other")
	pullRound(c)

	required, okR := c.integer("peer.gossip.pvtData.implicitCollectionDisseminationPolicy.requiredPeerCount")
	most, okM := c.integer("peer.gossip.pvtData.implicitCollectionDisseminationPolicy.maxPeerCount")
	if okR && okM && most < required {
		const section = "peer.gossip.pvtData.implicitCollectionDisseminationPolicy."
		c.refuse(c.blame(section+"requiredPeerCount", section+"maxPeerCount"), "",
			"%smaxPeerCount (%d) is less than requiredPeerCount (%d): the peer would panic", section, most, required)
	}
	if ratio, ok := c.number("peer.discovery.authCachePurgeRetentionRatio"); ok && (ratio < 0 || ratio > 1) {
		c.refuse("peer.discovery.authCachePurgeRetentionRatio", "", "peer.discovery.authCachePurgeRetentionRatio must be from 0 to 1, given %v", ratio)
	}

	couchDB(c)
	c.metrics("metrics", "provider", "network", "address", "writeInterval", "prefix")
	builders(c)
	handlers(c, v)
	peerListeners(c)
}

// pullRound: a round of gossip's pull has to end before the next one starts.
func pullRound(c *config) {
	const pull, digest, response = "peer.gossip.pullInterval", "peer.gossip.digestWaitTime", "peer.gossip.responseWaitTime"
	p, okP := c.duration(pull)
	d, okD := c.duration(digest)
	r, okR := c.duration(response)
	if okP && okD && okR && p <= d+r {
		c.refuse(c.blame(pull, digest, response), "", "%s (%s) must be longer than %s and %s together (%s)", pull, p, digest, response, d+r)
	}
}

func couchDB(c *config) {
	const database, section = "ledger.state.stateDatabase", "ledger.state.couchDBConfig"
	if kind, ok := c.text(database); !ok || kind == "CouchDB" {
		return
	}
	settings, _ := c.at(section)
	object, _ := settings.(map[string]any)
	for name := range object {
		if path := join(section, name); c.set[path] {
			c.refuse(path, "remove it", "%s would have no effect: the state database is goleveldb", path)
		}
	}
}

func builders(c *config) {
	const path = "chaincode.externalBuilders"
	if !c.set[path] {
		return
	}
	var names []string
	for i, b := range c.objects(path) {
		name, _ := b.text("name")
		if slices.Contains(names, name) {
			c.refuse(index(path, i), "", "%s is a second builder with the name %s", index(path, i), name)
		}
		names = append(names, name)
	}
	if ccaas := CCaaSBuilder(); !slices.Contains(names, ccaas.Name) {
		c.refuse(path, fmt.Sprintf("add { name = %q, path = %q, propagateEnvironment = %q }", ccaas.Name, ccaas.Path, ccaas.PropagateEnvironment),
			"%s does not hold %s, which runs chaincode as a service", path, ccaas.Name)
	}
}

func handlers(c *config, v Version) {
	builtin := builtinHandlers(v)
	check := func(path, kind string, handler tree) {
		name, _ := handler.text("name")
		library, _ := handler.text("library")
		if library == "" && !slices.Contains(builtin[kind], name) {
			c.refuse(path, "", "%s: Fabric %s has no handler %q of its own there: the peer would panic", path, v, name)
		}
	}
	for _, kind := range []string{"authFilters", "decorators"} {
		path := "peer.handlers." + kind
		for i, handler := range c.objects(path) {
			check(index(path, i), kind, handler)
		}
	}
	for _, kind := range []string{"endorsers", "validators"} {
		path := "peer.handlers." + kind
		value, _ := c.at(path)
		object, _ := value.(map[string]any)
		for name, handler := range object {
			fields, _ := handler.(map[string]any)
			check(join(path, name), kind, fields)
		}
	}
}

func peerListeners(c *config) {
	paths := []string{"peer.listenAddress", "peer.chaincodeListenAddress", "operations.listenAddress"}
	if enabled, _ := c.boolean("peer.profile.enabled"); enabled {
		paths = append(paths, "peer.profile.listenAddress")
		if address, _ := c.text("peer.profile.listenAddress"); address == "" {
			c.refuse(c.blame("peer.profile.listenAddress", "peer.profile.enabled"), "",
				"peer.profile.enabled is true, but peer.profile.listenAddress is empty")
		}
	} else if c.set["peer.profile.listenAddress"] {
		c.refuse("peer.profile.listenAddress", "remove it, or set peer.profile.enabled to true",
			"peer.profile.listenAddress would have no effect: peer.profile.enabled is false")
	}
	var list []listener
	for _, path := range paths {
		if address, ok := c.text(path); ok {
			list = append(list, listener{path, address})
		}
	}
	c.listeners(list)
}
