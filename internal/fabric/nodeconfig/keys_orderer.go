package nodeconfig

import "time"

const (
	whyAdmin         = "the admin endpoint has mutual TLS with certificates of the provider's own"
	whyParticipation = "channels are joined through the channel participation API, without a system channel"
	whyCluster       = "the provider sets the certificates and the listener that consenters know the node by"
	attrNodes        = "nodes[*]."
	whyKafka         = "the provider runs Raft and SmartBFT ordering only"
)

// ordererKeys are the rules for orderer.yaml. The hidden keys are fields of
// orderer/common/localconfig.TopLevel, which refuses every other key, and of
// the configurations of etcdraft and SmartBFT below Consensus.
var ordererKeys = []keyRule{
	{path: "General.ListenAddress", reserved: whyAddress, attribute: attrNodes + attrPort},
	{path: "General.ListenPort", reserved: whyAddress, attribute: attrNodes + attrPort},
	{path: "General.ConnectionTimeout", typ: typeDuration, hidden: true},

	{path: "General.TLS.Enabled", reserved: whyTLS},
	{path: "General.TLS.PrivateKey", reserved: whyTLS},
	{path: "General.TLS.Certificate", reserved: whyTLS, attribute: attrNodes + attrSANs},
	{path: "General.TLS.RootCAs", reserved: whyTLS},
	{path: "General.TLS.ClientAuthRequired", reserved: whyTLS},
	{path: "General.TLS.ClientRootCAs", reserved: whyTLS},
	{path: "General.TLS.TLSHandshakeTimeShift", typ: typeDuration, hidden: true},

	{path: "General.Keepalive.ServerMinInterval", minDuration: time.Millisecond},
	{path: "General.MaxRecvMsgSize", min: 1},
	{path: "General.MaxSendMsgSize", min: 1},
	{path: "General.Throttling.InactivityTimeout", minDuration: time.Millisecond},

	{path: "General.Cluster.ClientCertificate", reserved: whyCluster},
	{path: "General.Cluster.ClientPrivateKey", reserved: whyCluster},
	{path: "General.Cluster.RootCAs", typ: typeStrings, hidden: true, reserved: whyCluster},
	{path: "General.Cluster.ListenPort", reserved: whyCluster},
	{path: "General.Cluster.ListenAddress", reserved: whyCluster},
	{path: "General.Cluster.ServerCertificate", reserved: whyCluster},
	{path: "General.Cluster.ServerPrivateKey", reserved: whyCluster},
	{path: "General.Cluster.SendBufferSize", min: 1},
	{path: "General.Cluster.ReplicationPolicy", typ: typeString, oneOf: []string{"consensus", "simple"}},
	{path: "General.Cluster.DialTimeout", typ: typeDuration, hidden: true, minDuration: time.Millisecond},
	{path: "General.Cluster.RPCTimeout", typ: typeDuration, hidden: true, minDuration: time.Millisecond},
	{path: "General.Cluster.ReplicationBufferSize", typ: typeInt, hidden: true, min: 1},
	{path: "General.Cluster.ReplicationPullTimeout", typ: typeDuration, hidden: true, minDuration: time.Millisecond},
	{path: "General.Cluster.ReplicationRetryTimeout", typ: typeDuration, hidden: true, minDuration: time.Millisecond},
	{path: "General.Cluster.ReplicationBackgroundRefreshInterval", typ: typeDuration, hidden: true, major: 2, inert: "it belongs to the system channel, which the provider does not use"},
	{path: "General.Cluster.ReplicationMaxRetries", typ: typeInt, hidden: true, min: 1},
	{path: "General.Cluster.CertExpirationWarningThreshold", typ: typeDuration, hidden: true, minDuration: time.Millisecond},
	{path: "General.Cluster.TLSHandshakeTimeShift", typ: typeDuration, hidden: true},

	{path: "General.GenesisMethod", typ: typeString, hidden: true, reserved: whyParticipation},
	{path: "General.GenesisFile", typ: typeString, hidden: true, reserved: whyParticipation},
	{path: "General.BootstrapMethod", typ: typeString, hidden: true, reserved: whyParticipation},
	{path: "General.BootstrapFile", typ: typeString, hidden: true, reserved: whyParticipation},
	{path: "General.LocalMSPDir", reserved: whyMSP},
	{path: "General.LocalMSPID", reserved: whyMSP, attribute: attrOrganization},
	{path: "General.BCCSP", reserved: whyCrypto},
	{path: "General.Profile.Address", endpoint: true},
	{path: "General.Authentication.TimeWindow", minDuration: time.Second},
	{path: "General.Authentication.NoExpirationChecks", typ: typeBool, hidden: true},

	{path: "FileLedger.Location", reserved: whyStorage},
	{path: "FileLedger.Prefix", typ: typeString, hidden: true, inert: "Fabric does not support it any more"},
	{path: "Kafka", inert: whyKafka},
	{path: "Debug.BroadcastTraceDir", typ: typeString, absolute: true},
	{path: "Debug.DeliverTraceDir", typ: typeString, absolute: true},

	{path: "Operations", reserved: whyOperations, attribute: attrNodes + attrOperationsPort},
	{path: "Admin", reserved: whyAdmin, attribute: attrNodes + "admin_port"},
	{path: "ChannelParticipation.Enabled", reserved: whyParticipation},

	{path: "Metrics.Provider", oneOf: []string{"prometheus", "statsd", "disabled"}},
	{path: "Metrics.Statsd.Network", oneOf: []string{"udp", "tcp"}},
	{path: "Metrics.Statsd.Address", endpoint: true},
	{path: "Metrics.Statsd.WriteInterval", minDuration: time.Millisecond},
	{path: "Metrics.Statsd.Prefix", typ: typeString},

	{path: "Consensus.WALDir", reserved: whyStorage},
	{path: "Consensus.SnapDir", reserved: whyStorage},
	{path: "Consensus.EvictionSuspicion", typ: typeDuration, hidden: true, minDuration: time.Millisecond},
	{path: "Consensus.TickIntervalOverride", typ: typeDuration, hidden: true, minDuration: time.Millisecond},
}
