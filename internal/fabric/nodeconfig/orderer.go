package nodeconfig

import "time"

// Orderer is what the provider sets in orderer.yaml. Paths are absolute,
// addresses are HOST:PORT.
type Orderer struct {
	MSPID  string // General.LocalMSPID
	MSPDir string // the local MSP, with keystore

	ListenAddress string // where clients and, without a ClusterListener, consenters connect
	TLS           ServerTLS
	Cluster       Cluster

	Admin      Endpoint // channel participation API
	Operations Endpoint // health, metrics, log level

	LedgerDir string // blocks
	WALDir    string // write-ahead logs of etcd/raft or SmartBFT, one folder per channel
	SnapDir   string // snapshots of etcd/raft, one folder per channel
}

// Cluster is how an orderer speaks to the other consenters.
type Cluster struct {
	ClientCertFile, ClientKeyFile string
	RootFiles                     []string // additional roots that other consenters are checked against
	Listener                      *ClusterListener
}

// ClusterListener is a listener for consenters apart from the one for clients.
// Its address is then the one in the channel's consenter set.
type ClusterListener struct {
	ListenAddress     string
	CertFile, KeyFile string
}

// clientPing is the pause between the pings of a peer (by default) and of an
// orderer (always, DefaultKeepaliveOptions in Fabric's internal/pkg/comm) to an
// orderer.
const clientPing = time.Minute

// replicationRetry is the pause of an ordering node between attempts to fetch
// blocks from another one. The first attempt of a node that has waited for a
// block always fails ("buffer is empty", blockpuller.go in Fabric's
// orderer/common/cluster): with Fabric's default of 5 s a new consenter takes
// part that much later.
const replicationRetry = 500 * time.Millisecond

// replicationPatience is how long it tries in all: 12 times 5 s by default.
const replicationPatience = time.Minute

func ordererOpinions() tree {
	t := tree{}
	t.put("General.Cluster.ReplicationRetryTimeout", replicationRetry.String())
	t.put("General.Cluster.ReplicationMaxRetries", int(replicationPatience/replicationRetry))
	t.put("Metrics.Provider", "prometheus")
	return t
}

// ValidateOrderer finds everything that is wrong with the orderer.yaml that
// [RenderOrderer] would make of the same arguments. Problems with the Orderer
// itself have the path of the key that they concern. An unsupported version is
// a problem without a path.
func ValidateOrderer(v Version, node Orderer, o Overlay) []Problem {
	_, problems := node.build(v, o)
	return problems
}

// RenderOrderer makes the orderer.yaml of an ordering node. The same arguments
// give the same bytes. The error is an [*InvalidError] that holds every
// problem, or wraps [ErrUnsupportedVersion].
func RenderOrderer(v Version, node Orderer, o Overlay) ([]byte, error) {
	return render(KindOrderer, v, func() (tree, []Problem) { return node.build(v, o) })
}

func (node Orderer) build(v Version, o Overlay) (tree, []Problem) {
	return build(KindOrderer, v, node.settings(v), o, node.check)
}

// settings are the values of the provider. Every key that is reserved in
// ordererKeys, and that Fabric needs, is set here.
func (node Orderer) settings(v Version) tree {
	t := ordererOpinions()

	t.put("General.LocalMSPID", node.MSPID)
	t.put("General.LocalMSPDir", node.MSPDir)
	t.put("General.BCCSP", softwareCrypto())
	if v.Major() < 3 {
		// From 3.0 on there is no other way, and the key is deprecated.
		t.put("General.BootstrapMethod", "none")
	}

	if host, port, ok := splitEndpoint(node.ListenAddress); ok {
		t.put("General.ListenAddress", host)
		t.put("General.ListenPort", port)
	}
	t.put("General.TLS.Enabled", true)
	t.put("General.TLS.Certificate", node.TLS.CertFile)
	t.put("General.TLS.PrivateKey", node.TLS.KeyFile)
	t.put("General.TLS.RootCAs", stringList(node.TLS.RootFiles))
	t.put("General.TLS.ClientAuthRequired", node.TLS.ClientAuth)
	t.put("General.TLS.ClientRootCAs", stringList(node.TLS.ClientRootFiles))

	t.put("General.Cluster.ClientCertificate", node.Cluster.ClientCertFile)
	t.put("General.Cluster.ClientPrivateKey", node.Cluster.ClientKeyFile)
	t.put("General.Cluster.RootCAs", stringList(node.Cluster.RootFiles))
	if l := node.Cluster.Listener; l != nil {
		if host, port, ok := splitEndpoint(l.ListenAddress); ok {
			t.put("General.Cluster.ListenAddress", host)
			t.put("General.Cluster.ListenPort", port)
		}
		t.put("General.Cluster.ServerCertificate", l.CertFile)
		t.put("General.Cluster.ServerPrivateKey", l.KeyFile)
	}

	for section, endpoint := range map[string]Endpoint{"Admin": node.Admin, "Operations": node.Operations} {
		t.put(section+".ListenAddress", endpoint.ListenAddress)
		t.put(section+".TLS.Enabled", true)
		t.put(section+".TLS.Certificate", endpoint.CertFile)
		t.put(section+".TLS.PrivateKey", endpoint.KeyFile)
		t.put(section+".TLS.ClientAuthRequired", true)
		t.put(section+".TLS.ClientRootCAs", stringList(endpoint.ClientRootFiles))
	}
	t.put("ChannelParticipation.Enabled", true)

	t.put("FileLedger.Location", node.LedgerDir)
	t.put("Consensus.WALDir", node.WALDir)
	t.put("Consensus.SnapDir", node.SnapDir)
	return t
}

// check is about what the provider hands in. What it has in common with an
// overlay is in ordererRules.
func (node Orderer) check(c *config) {
	c.named("General.LocalMSPID", node.MSPID)
	c.absolutePath("General.LocalMSPDir", node.MSPDir)

	c.endpoint("General.ListenAddress", node.ListenAddress)
	c.absolutePath("General.TLS.Certificate", node.TLS.CertFile)
	c.absolutePath("General.TLS.PrivateKey", node.TLS.KeyFile)
	c.absolutePaths("General.TLS.RootCAs", node.TLS.RootFiles, false)
	c.absolutePaths("General.TLS.ClientRootCAs", node.TLS.ClientRootFiles, false)

	c.absolutePath("General.Cluster.ClientCertificate", node.Cluster.ClientCertFile)
	c.absolutePath("General.Cluster.ClientPrivateKey", node.Cluster.ClientKeyFile)
	c.absolutePaths("General.Cluster.RootCAs", node.Cluster.RootFiles, false)
	if l := node.Cluster.Listener; l != nil {
		c.endpoint("General.Cluster.ListenAddress", l.ListenAddress)
		c.absolutePath("General.Cluster.ServerCertificate", l.CertFile)
		c.absolutePath("General.Cluster.ServerPrivateKey", l.KeyFile)
	}

	c.endpoint("Admin.ListenAddress", node.Admin.ListenAddress)
	c.absolutePath("Admin.TLS.Certificate", node.Admin.CertFile)
	c.absolutePath("Admin.TLS.PrivateKey", node.Admin.KeyFile)
	c.absolutePaths("Admin.TLS.ClientRootCAs", node.Admin.ClientRootFiles, true)
	c.endpoint("Operations.ListenAddress", node.Operations.ListenAddress)
	c.absolutePath("Operations.TLS.Certificate", node.Operations.CertFile)
	c.absolutePath("Operations.TLS.PrivateKey", node.Operations.KeyFile)
	c.absolutePaths("Operations.TLS.ClientRootCAs", node.Operations.ClientRootFiles, true)

	c.absolutePath("FileLedger.Location", node.LedgerDir)
	c.absolutePath("Consensus.WALDir", node.WALDir)
	c.absolutePath("Consensus.SnapDir", node.SnapDir)
	if node.WALDir == node.SnapDir && node.WALDir != "" {
		c.refuse("Consensus.SnapDir", "", "Consensus.SnapDir and Consensus.WALDir are both %s: each needs its own folder", node.WALDir)
	}
}

// ordererRules are the combinations that an orderer refuses, or whose effect is
// not what their author can have meant.
func ordererRules(c *config, _ Version) {
	const ping = "General.Keepalive.ServerMinInterval"
	if d, ok := c.duration(ping); ok && d > clientPing {
		c.refuse(ping, "", "%s (%s) must be at most %s: orderers and peers ping an orderer that often, and it would close their connections", ping, d, clientPing)
	}

	const rate, mutual = "General.Throttling.Rate", "General.TLS.ClientAuthRequired"
	if n, _ := c.integer(rate); n > 0 {
		if on, known := c.boolean(mutual); known && !on {
			c.refuse(rate, "remove it, or require client certificates", "%s would have no effect: an orderer throttles only clients that present a certificate, and %s is false", rate, mutual)
		}
	}

	const shift, base, factor, most = "General.Cluster.TLSHandshakeTimeShift", "General.Backoff.BaseDelay", "General.Backoff.Multiplier", "General.Backoff.MaxDelay"
	if _, own := c.text("General.Cluster.ListenAddress"); c.set[shift] && !own {
		c.refuse(shift, "set General.TLS.TLSHandshakeTimeShift", "%s would have no effect: consenters connect to the general listener", shift)
	}
	c.below(base, most, true, "the pause grows from one to the other")
	if f, ok := c.number(factor); ok && f < 1 {
		c.refuse(factor, "", "%s must be at least 1, given %v: the pause would shrink", factor, f)
	}

	c.metrics("Metrics", "Provider", "Network", "Address", "WriteInterval", "Prefix")
	ordererListeners(c)
}

func ordererListeners(c *config) {
	const enabled, profile = "General.Profile.Enabled", "General.Profile.Address"
	var list []listener
	for _, section := range []string{"General", "General.Cluster"} {
		host, _ := c.text(section + ".ListenAddress")
		if port, ok := c.integer(section + ".ListenPort"); ok {
			list = append(list, listener{section + ".ListenPort", hostPort(host, port)})
		}
	}
	paths := []string{"Admin.ListenAddress", "Operations.ListenAddress"}
	if on, _ := c.boolean(enabled); on {
		paths = append(paths, profile)
		if address, _ := c.text(profile); address == "" {
			c.refuse(c.blame(profile, enabled), "", "%s is true, but %s is empty", enabled, profile)
		}
	} else if c.set[profile] {
		c.refuse(profile, "remove it, or set "+enabled+" to true", "%s would have no effect: %s is false", profile, enabled)
	}
	for _, path := range paths {
		if address, ok := c.text(path); ok {
			list = append(list, listener{path, address})
		}
	}
	c.listeners(list)
}
