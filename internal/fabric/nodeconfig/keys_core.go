package nodeconfig

import "time"

// Attributes of the resources that set what an overlay must not.
const (
	attrName              = "name"
	attrOrganization      = "organization"
	attrAdvertisedAddress = "advertised_address"
	attrSANs              = "sans"
	attrPort              = "port"
	attrOperationsPort    = "operations_port"
	attrStateDatabase     = "state_database"
)

// Why the provider keeps a key to itself, or why a key does nothing.
const (
	whyName       = "the provider names the node"
	whyMSP        = "the provider enrols the node and places its MSP"
	whyCrypto     = "the provider generates the node's keys as files in the node's own volume"
	whyTLS        = "the provider issues the node's TLS certificates and trusts its organization's TLS roots"
	whyAddress    = "the provider chooses the addresses inside the container; ports are published on the host"
	whyAdvertised = "the provider publishes the address that the node was given"
	whyOperations = "the operations endpoint has mutual TLS with certificates of the provider's own"
	whyStorage    = "the provider mounts the node's volumes"
	whyGossip     = "the provider knows the peers of the organization"
	whyDatabase   = "the provider runs the state database"
	whySecret     = "a secret never goes into a configuration file, which the peer logs when it starts"
	whyDocker     = "peers run chaincode as a service and have no access to a Docker daemon"
	whyService    = "chaincode runs as a service, the peer does not build or start it"
	whyNeeded     = "the provider and the applications need it"
	whyUnread     = "Fabric does not read it"
)

// coreKeys are the rules for core.yaml.
//
// Where a rule has a limit or a choice, Fabric would panic, or would silently
// take another value, when it is not kept.
var coreKeys = []keyRule{
	{path: "peer.id", reserved: whyName, attribute: attrName},
	{path: "peer.listenAddress", reserved: whyAddress, attribute: attrPort},
	{path: "peer.chaincodeListenAddress", typ: typeString, hidden: true, reserved: whyAddress},
	{path: "peer.chaincodeAddress", typ: typeString, hidden: true, reserved: whyAddress},
	{path: "peer.address", reserved: whyAddress},
	{path: "peer.addressAutoDetect", reserved: whyAddress},
	{path: "peer.connectiontimeout", typ: typeDuration, hidden: true},
	{path: "peer.gateway.enabled", reserved: whyNeeded},
	{path: "peer.discovery.enabled", reserved: whyNeeded},

	{path: "peer.gossip.bootstrap", reserved: whyGossip},
	{path: "peer.gossip.endpoint", typ: typeString, reserved: whyAddress},
	{path: "peer.gossip.externalEndpoint", typ: typeString, reserved: whyAdvertised, attribute: attrAdvertisedAddress},
	{path: "peer.gossip.stateInfoRetentionInterval", inert: whyUnread},
	{path: "peer.gossip.skipBlockVerification", inert: "it is not in use in Fabric"},
	{path: "peer.gossip.nonBlockingCommitMode", typ: typeBool, hidden: true},
	{path: "peer.gossip.state.channelSize", typ: typeInt, hidden: true},
	{path: "peer.gossip.state.checkInterval", minDuration: time.Millisecond},
	{path: "peer.gossip.state.responseTimeout", minDuration: time.Millisecond},

	{path: "peer.tls.enabled", reserved: whyTLS},
	{path: "peer.tls.clientAuthRequired", reserved: whyTLS},
	{path: "peer.tls.cert", reserved: whyTLS, attribute: attrSANs},
	{path: "peer.tls.key", reserved: whyTLS},
	{path: "peer.tls.rootcert", reserved: whyTLS},
	{path: "peer.tls.clientRootCAs", reserved: whyTLS},
	{path: "peer.tls.clientKey", reserved: whyTLS},
	{path: "peer.tls.clientCert", reserved: whyTLS},
	{path: "peer.tls.serverhostoverride", typ: typeString, hidden: true, inert: "only the peer command line reads it"},

	{path: "peer.authentication.timewindow", minDuration: time.Second},
	{path: "peer.fileSystemPath", reserved: whyStorage},
	{path: "peer.BCCSP", reserved: whyCrypto},
	{path: "peer.mspConfigPath", reserved: whyMSP},
	{path: "peer.localMspId", reserved: whyMSP, attribute: attrOrganization},
	{path: "peer.localMspType", reserved: whyMSP},

	{path: "peer.deliveryclient.addressOverrides", typ: typeObjects, fields: []keyRule{
		{path: "from", typ: typeString, endpoint: true, required: true},
		{path: "to", typ: typeString, endpoint: true, required: true},
		{path: "caCertsFile", typ: typeString, absolute: true},
	}},
	{path: "peer.deliveryclient.policy", oneOf: []string{"cluster", "simple"}},
	{path: "peer.deliveryclient.minimalReconnectInterval", minDuration: time.Millisecond},
	{path: "peer.deliveryclient.reConnectBackoffThreshold", minDuration: time.Millisecond},
	{path: "peer.profile.listenAddress", endpoint: true},

	{path: "peer.handlers.authFilters", typ: typeObjects, fields: handlerFields},
	{path: "peer.handlers.decorators", typ: typeObjects, fields: handlerFields},
	{path: "peer.handlers.endorsers", typ: typeMap, fields: handlerFields},
	{path: "peer.handlers.validators", typ: typeMap, fields: handlerFields},
	{path: "peer.validatorPoolSize", typ: typeInt},
	{path: "peer.maxRecvMsgSize", min: 1},
	{path: "peer.maxSendMsgSize", min: 1},

	{path: "vm", reserved: whyDocker},

	{path: "chaincode.id", inert: "chaincode reads it, not the peer"},
	{path: "chaincode.builder", inert: whyService},
	{path: "chaincode.pull", inert: whyService},
	{path: "chaincode.golang", inert: whyService},
	{path: "chaincode.java", inert: whyService},
	{path: "chaincode.node", inert: whyService},
	{path: "chaincode.logging", inert: whyService},
	{path: "chaincode.externalBuilders", typ: typeObjects, fields: []keyRule{
		{path: "name", typ: typeString, required: true},
		{path: "path", typ: typeString, absolute: true, required: true},
		{path: "propagateEnvironment", typ: typeStrings},
	}},
	{path: "chaincode.executetimeout", minDuration: time.Second},
	{path: "chaincode.startuptimeout", minDuration: 5 * time.Second},
	{path: "chaincode.mode", reserved: whyService},
	{path: "chaincode.system._lifecycle", reserved: whyNeeded},
	{path: "chaincode.system.cscc", reserved: whyNeeded},
	{path: "chaincode.system.qscc", reserved: whyNeeded},
	{path: "chaincode.system.lscc", oneOf: []string{"enable", "disable"}},
	{path: "chaincode.runtimeParams.maxSizeWriteBatch", min: 1},
	{path: "chaincode.runtimeParams.maxSizeGetMultipleKeys", min: 1},

	{path: "ledger.blockchain", inert: whyUnread},
	{path: "ledger.state.stateDatabase", reserved: whyDatabase, attribute: attrStateDatabase},
	{path: "ledger.state.couchDBConfig.couchDBAddress", reserved: whyDatabase, attribute: attrStateDatabase},
	{path: "ledger.state.couchDBConfig.username", reserved: whyDatabase, attribute: attrStateDatabase},
	{path: "ledger.state.couchDBConfig.password", reserved: whySecret, attribute: attrStateDatabase},
	{path: "ledger.state.couchDBConfig.internalQueryLimit", min: 1},
	{path: "ledger.state.couchDBConfig.maxBatchUpdateSize", min: 1},
	{path: "ledger.snapshots.rootDir", reserved: whyStorage},

	{path: "operations", reserved: whyOperations, attribute: attrOperationsPort},

	{path: "metrics.provider", oneOf: []string{"prometheus", "statsd", "disabled"}},
	{path: "metrics.statsd.network", oneOf: []string{"udp", "tcp"}},
	{path: "metrics.statsd.address", endpoint: true},
	{path: "metrics.statsd.writeInterval", minDuration: time.Millisecond},
	{path: "metrics.statsd.prefix", typ: typeString},
}

var handlerFields = []keyRule{
	{path: "name", typ: typeString, required: true},
	{path: "library", typ: typeString, absolute: true},
}
