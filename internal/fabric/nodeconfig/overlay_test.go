package nodeconfig

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// nest makes the overlay { a = { b = { c = value } } } of "a.b.c".
func nest(path string, value any) Overlay {
	t := tree{}
	t.put(path, value)
	return Overlay(t)
}

func nestAll(values map[string]any) Overlay {
	t := tree{}
	for path, value := range values {
		t.put(path, value)
	}
	return Overlay(t)
}

func TestOverlayIsRefused(t *testing.T) {
	type object = map[string]any
	couch := testPeer()
	couch.CouchDB = &CouchDB{Address: "couchdb:5984"}
	ccaas := object{"name": "ccaas_builder", "path": "/opt/hyperledger/ccaas_builder"}

	for _, tc := range []struct {
		name    string
		kind    Kind
		version string // empty: both
		overlay Overlay
		path    string
		says    []string // in the message or in what to do
	}{
		// Unknown keys.
		{"typo in a section", KindPeer, "", nest("peer.gosip.useLeaderElection", true), "peer.gosip.useLeaderElection",
			[]string{"unknown key peer.gosip.useLeaderElection; did you mean peer.gossip.useLeaderElection"}},
		{"typo in a name", KindPeer, "", nest("peer.gossip.useLeaderElecton", true), "peer.gossip.useLeaderElecton", []string{"did you mean peer.gossip.useLeaderElection"}},
		{"swapped letters", KindOrderer, "", nest("General.Authentication.TimeWindwo", "1m"), "General.Authentication.TimeWindwo", []string{"did you mean General.Authentication.TimeWindow"}},
		{"right name, wrong place", KindPeer, "", nest("peer.orgLeader", true), "peer.orgLeader", []string{"did you mean peer.gossip.orgLeader"}},
		{"not like anything", KindPeer, "", nest("colour", "red"), "colour", []string{"unknown key colour", "remove it"}},
		{"below a value", KindPeer, "", nest("peer.gossip.orgLeader.really", true), "peer.gossip.orgLeader", []string{"must be true or false, given an object"}},
		{"dotted key", KindPeer, "", Overlay{"peer.gossip.orgLeader": true}, "peer.gossip.orgLeader", []string{"nested objects, peer = {"}},
		{"of the orderer", KindPeer, "", nest("General.Profile.Enabled", true), "General.Profile.Enabled", []string{"unknown key"}},
		{"later release", KindPeer, "2.5.9", nest("peer.deliveryclient.policy", "simple"), "peer.deliveryclient.policy", []string{"Fabric 3.1.1 has it, Fabric 2.5.9 does not"}},
		{"earlier release", KindOrderer, "3.1.1", nest("General.Cluster.ReplicationBackgroundRefreshInterval", "1m"), "General.Cluster.ReplicationBackgroundRefreshInterval", []string{"Fabric 2.5.9 has it"}},
		{"kafka in 3.x", KindOrderer, "3.1.1", nest("Kafka.Verbose", true), "Kafka.Verbose", []string{"unknown key"}},
		{"field of a list", KindPeer, "", nest("chaincode.externalBuilders", []any{object{"name": "ccaas_builder", "path": "/a", "paths": "/b"}}), "chaincode.externalBuilders[0].paths", []string{"known are name, path, propagateEnvironment"}},
		{"unknown system chaincode", KindPeer, "", nest("chaincode.system.vscc", "enable"), "chaincode.system.vscc", []string{"unknown key"}},
		{"twice", KindPeer, "", Overlay{"peer": object{"profile": object{"enabled": true, "Enabled": false}}}, "peer.profile.enabled", []string{"set twice"}},

		// Wrong types.
		{"bool", KindPeer, "", nest("peer.profile.enabled", "true"), "peer.profile.enabled", []string{"must be true or false, given a string"}},
		{"int from a string", KindPeer, "", nest("peer.gossip.propagatePeerNum", "3"), "peer.gossip.propagatePeerNum", []string{"must be a whole number, given a string"}},
		{"int from a fraction", KindPeer, "", nest("peer.gossip.propagatePeerNum", 1.5), "peer.gossip.propagatePeerNum", []string{"must be a whole number, given a number with a fraction"}},
		{"int from infinity", KindPeer, "", nest("peer.gossip.propagatePeerNum", math.Inf(1)), "peer.gossip.propagatePeerNum", []string{"must be a whole number"}},
		{"int below zero", KindPeer, "", nest("peer.limits.concurrency.endorserService", -1), "peer.limits.concurrency.endorserService", []string{"must be from 0 to 2147483647, given -1"}},
		{"int too large", KindOrderer, "", nest("General.MaxRecvMsgSize", float64(1<<31)), "General.MaxRecvMsgSize", []string{"must be from 1 to 2147483647"}},
		{"float", KindPeer, "", nest("peer.discovery.authCachePurgeRetentionRatio", "0.5"), "peer.discovery.authCachePurgeRetentionRatio", []string{"must be a number, given a string"}},
		{"string", KindPeer, "", nest("peer.networkId", 7), "peer.networkId", []string{"must be a string, given a whole number"}},
		{"string with a line break", KindPeer, "", nest("peer.networkId", "a\nb"), "peer.networkId", []string{"plain text"}},
		{"string that is no text", KindPeer, "", nest("peer.networkId", "\xff"), "peer.networkId", []string{"plain text"}},
		{"duration from a number", KindPeer, "", nest("peer.gossip.pullInterval", 4), "peer.gossip.pullInterval", []string{`must be a duration such as "10s" or "1m30s", given a whole number`}},
		{"duration without a unit", KindPeer, "", nest("peer.gossip.pullInterval", "4"), "peer.gossip.pullInterval", []string{`given "4"`}},
		{"duration in days", KindOrderer, "", nest("General.Cluster.CertExpirationWarningThreshold", "7d"), "General.Cluster.CertExpirationWarningThreshold", []string{`given "7d"`}},
		{"duration below zero", KindPeer, "", nest("peer.gossip.dialTimeout", "-1s"), "peer.gossip.dialTimeout", []string{"must be at least 0s, given -1s"}},
		{"duration that Fabric replaces", KindPeer, "", nest("chaincode.executetimeout", "500ms"), "chaincode.executetimeout", []string{"must be at least 1s"}},
		{"duration that makes a ticker panic", KindPeer, "", nestAll(map[string]any{"metrics.provider": "statsd", "metrics.statsd.address": "h:1", "metrics.statsd.writeInterval": "0s"}), "metrics.statsd.writeInterval", []string{"must be at least 1ms"}},
		{"tick interval of zero", KindOrderer, "", nest("Consensus.TickIntervalOverride", "0s"), "Consensus.TickIntervalOverride", []string{"must be at least 1ms"}},
		{"size", KindOrderer, "", nest("ChannelParticipation.MaxRequestBodySize", true), "ChannelParticipation.MaxRequestBodySize", []string{`must be a size such as "16 MB", given a bool`}},
		{"size with a wrong unit", KindOrderer, "", nest("ChannelParticipation.MaxRequestBodySize", "1 TB"), "ChannelParticipation.MaxRequestBodySize", []string{`given "1 TB"`}},
		{"size too large", KindOrderer, "", nest("ChannelParticipation.MaxRequestBodySize", "4 GB"), "ChannelParticipation.MaxRequestBodySize", []string{"less than 4 GB"}},
		{"size of nothing", KindOrderer, "", nest("ChannelParticipation.MaxRequestBodySize", "0 MB"), "ChannelParticipation.MaxRequestBodySize", []string{"more than 0"}},
		{"object", KindPeer, "", nest("peer.gossip", "on"), "peer.gossip", []string{"must be an object, given a string"}},
		{"list of objects", KindPeer, "", nest("chaincode.externalBuilders", object{}), "chaincode.externalBuilders", []string{"must be a list of objects, given an object"}},
		{"object in a list", KindPeer, "", nest("chaincode.externalBuilders", []any{ccaas, "x"}), "chaincode.externalBuilders[1]", []string{"must be an object, given a string"}},
		{"list of strings", KindPeer, "", nest("chaincode.externalBuilders", []any{object{"name": "ccaas_builder", "path": "/a", "propagateEnvironment": "HOME"}}), "chaincode.externalBuilders[0].propagateEnvironment", []string{"must be a list of strings, given a string"}},
		{"string in a list", KindPeer, "", nest("chaincode.externalBuilders", []any{object{"name": "ccaas_builder", "path": "/a", "propagateEnvironment": []any{1}}}), "chaincode.externalBuilders[0].propagateEnvironment[0]", []string{"must be a string, given a whole number"}},
		{"map", KindPeer, "", nest("peer.handlers.endorsers", []any{}), "peer.handlers.endorsers", []string{"must be an object, given a list"}},
		{"key of a map", KindPeer, "", nest("peer.handlers.endorsers", object{"my.escc": object{"name": "DefaultEndorsement"}}), "peer.handlers.endorsers", []string{`"my.escc"`}},
		{"choice", KindPeer, "", nest("metrics.provider", "graphite"), "metrics.provider", []string{`must be one of prometheus, statsd, disabled, given "graphite"`}},
		{"choice of the orderer", KindOrderer, "", nest("Metrics.Provider", "Prometheus"), "Metrics.Provider", []string{"must be one of"}},
		{"replication policy", KindOrderer, "3.1.1", nest("General.Cluster.ReplicationPolicy", "bft"), "General.Cluster.ReplicationPolicy", []string{"consensus, simple"}},
		{"delivery policy", KindPeer, "3.1.1", nest("peer.deliveryclient.policy", "bft"), "peer.deliveryclient.policy", []string{"cluster, simple"}},
		{"relative path", KindOrderer, "", nest("Debug.DeliverTraceDir", "trace"), "Debug.DeliverTraceDir", []string{`must be an absolute path, given "trace"`}},
		{"path with dots", KindOrderer, "", nest("Debug.DeliverTraceDir", "/var/../etc"), "Debug.DeliverTraceDir", []string{"absolute path"}},
		{"endpoint", KindPeer, "", nestAll(map[string]any{"peer.profile.enabled": true, "peer.profile.listenAddress": "6060"}), "peer.profile.listenAddress", []string{"must be HOST:PORT"}},
		{"missing field", KindPeer, "", nest("peer.deliveryclient.addressOverrides", []any{object{"from": "a:1"}}), "peer.deliveryclient.addressOverrides[0].to", []string{"must be set"}},

		// Keys of the provider.
		{"name", KindPeer, "", nest("peer.id", "x"), "peer.id", []string{"use the attribute name"}},
		{"organization", KindPeer, "", nest("PEER.LOCALMSPID", "x"), "peer.localMspId", []string{"use the attribute organization"}},
		{"organization of an orderer", KindOrderer, "", nest("general.localmspid", "x"), "General.LocalMSPID", []string{"use the attribute organization"}},
		{"MSP", KindPeer, "", nest("peer.mspConfigPath", "/msp"), "peer.mspConfigPath", []string{"cannot be set here", "remove it"}},
		{"keys in hardware", KindPeer, "", nest("peer.BCCSP.PKCS11.Pin", "1234"), "peer.BCCSP.PKCS11.Pin", []string{"cannot be set here"}},
		{"TLS file", KindPeer, "", nest("peer.tls.cert.file", "/x"), "peer.tls.cert.file", []string{"cannot be set here"}},
		{"TLS off", KindOrderer, "", nest("General.TLS.Enabled", false), "General.TLS.Enabled", []string{"cannot be set here"}},
		{"listener", KindPeer, "", nest("peer.listenAddress", "0.0.0.0:1"), "peer.listenAddress", []string{"cannot be set here"}},
		{"listener of an orderer", KindOrderer, "", nest("General.ListenPort", 1), "General.ListenPort", []string{"cannot be set here"}},
		{"cluster listener", KindOrderer, "", nest("General.Cluster.ListenPort", 1), "General.Cluster.ListenPort", []string{"cannot be set here"}},
		{"advertised address", KindPeer, "", nest("peer.gossip.externalEndpoint", "x:1"), "peer.gossip.externalEndpoint", []string{"use the attribute advertised_address"}},
		{"operations without TLS", KindPeer, "", nest("operations.tls.enabled", false), "operations.tls.enabled", []string{"mutual TLS"}},
		{"operations with TLS and no client certificate", KindOrderer, "", nest("Operations.TLS.ClientAuthRequired", false), "Operations.TLS.ClientAuthRequired", []string{"mutual TLS"}},
		{"admin", KindOrderer, "", nest("Admin.ListenAddress", "0.0.0.0:1"), "Admin.ListenAddress", []string{"mutual TLS"}},
		{"unknown key below admin", KindOrderer, "", nest("Admin.Enabled", true), "Admin.Enabled", []string{"mutual TLS"}},
		{"ledger folder", KindOrderer, "", nest("FileLedger.Location", "/x"), "FileLedger.Location", []string{"volumes"}},
		{"WAL", KindOrderer, "", nest("Consensus.WALDir", "/x"), "Consensus.WALDir", []string{"volumes"}},
		{"snapshots", KindPeer, "", nest("ledger.snapshots.rootDir", "/x"), "ledger.snapshots.rootDir", []string{"volumes"}},
		{"docker", KindPeer, "", nest("vm.endpoint", "unix:///var/run/docker.sock"), "vm.endpoint", []string{"no access to a Docker daemon"}},
		{"docker's host config", KindPeer, "", nest("vm.docker.hostConfig.Memory", 1), "vm.docker.hostConfig.Memory", []string{"no access to a Docker daemon"}},
		{"bootstrap", KindOrderer, "", nest("General.BootstrapMethod", "file"), "General.BootstrapMethod", []string{"channel participation"}},
		{"participation", KindOrderer, "", nest("ChannelParticipation.Enabled", false), "ChannelParticipation.Enabled", []string{"channel participation"}},
		{"state database", KindPeer, "", nest("ledger.state.stateDatabase", "CouchDB"), "ledger.state.stateDatabase", []string{"the provider runs the state database", "use the attribute state_database"}},
		{"password", KindPeer, "", nest("ledger.state.couchDBConfig.password", "adminpw"), "ledger.state.couchDBConfig.password", []string{"secret"}},
		{"gateway", KindPeer, "", nest("peer.gateway.enabled", false), "peer.gateway.enabled", []string{"need it"}},
		{"lifecycle", KindPeer, "", nest("chaincode.system._lifecycle", "disable"), "chaincode.system._lifecycle", []string{"need it"}},
		{"development mode", KindPeer, "", nest("chaincode.mode", "dev"), "chaincode.mode", []string{"runs as a service"}},

		// Keys that do nothing.
		{"unread", KindPeer, "", nest("peer.gossip.stateInfoRetentionInterval", "1s"), "peer.gossip.stateInfoRetentionInterval", []string{"no effect", "does not read it"}},
		{"chaincode build", KindPeer, "", nest("chaincode.golang.runtime", "x"), "chaincode.golang.runtime", []string{"no effect"}},
		{"kafka in 2.5", KindOrderer, "2.5.9", nest("Kafka.Retry.ShortTotal", "1m"), "Kafka.Retry.ShortTotal", []string{"no effect"}},

		// Combinations.
		{"election beside the default leader", KindPeer, "", nestAll(map[string]any{"peer.gossip.useLeaderElection": true, "peer.gossip.state.enabled": true}), "peer.gossip.useLeaderElection", []string{"both true", "set peer.gossip.orgLeader to false"}},
		{"both leaders", KindPeer, "", nestAll(map[string]any{"peer.gossip.useLeaderElection": true, "peer.gossip.orgLeader": true}), "peer.gossip.useLeaderElection", []string{"would panic"}},
		{"election without state transfer", KindPeer, "", nestAll(map[string]any{"peer.gossip.useLeaderElection": true, "peer.gossip.orgLeader": false}), "peer.gossip.orgLeader", []string{"set peer.gossip.state.enabled to true"}},
		{"nobody leads", KindPeer, "", nest("peer.gossip.orgLeader", false), "peer.gossip.orgLeader", []string{"never catch up"}},
		{"minimum above the interval", KindPeer, "", nest("peer.keepalive.minInterval", "2m"), "peer.keepalive.minInterval", []string{"at most peer.keepalive.client.interval (1m0s)"}},
		{"interval below the minimum", KindPeer, "", nest("peer.keepalive.client.interval", "10s"), "peer.keepalive.client.interval", []string{"peer.keepalive.minInterval (1m0s)"}},
		{"orderer closes its clients", KindOrderer, "", nest("General.Keepalive.ServerMinInterval", "61s"), "General.Keepalive.ServerMinInterval", []string{"at most 1m0s"}},
		{"pull too short", KindPeer, "", nest("peer.gossip.pullInterval", "3s"), "peer.gossip.pullInterval", []string{"longer than", "(3s)"}},
		{"digest longer than request", KindPeer, "", nest("peer.gossip.digestWaitTime", "1500ms"), "peer.gossip.digestWaitTime", []string{"shorter than peer.gossip.requestWaitTime"}},
		{"alive", KindPeer, "", nest("peer.gossip.aliveExpirationTimeout", "5s"), "peer.gossip.aliveExpirationTimeout", []string{"count each other as dead"}},
		{"implicit collections", KindPeer, "", nest("peer.gossip.pvtData.implicitCollectionDisseminationPolicy.requiredPeerCount", 2), "peer.gossip.pvtData.implicitCollectionDisseminationPolicy.requiredPeerCount", []string{"would panic"}},
		{"reconciler", KindPeer, "", nest("ledger.pvtdataStore.deprioritizedDataReconcilerInterval", "1m"), "ledger.pvtdataStore.deprioritizedDataReconcilerInterval", []string{"reconcileSleepInterval (1m0s)"}},
		{"ratio", KindPeer, "", nest("peer.discovery.authCachePurgeRetentionRatio", 1.01), "peer.discovery.authCachePurgeRetentionRatio", []string{"from 0 to 1"}},
		{"reconnect", KindPeer, "3.1.1", nest("peer.deliveryclient.minimalReconnectInterval", "16s"), "peer.deliveryclient.minimalReconnectInterval", []string{"at most peer.deliveryclient.reConnectBackoffThreshold (15s)"}},
		{"couchdb without couchdb", KindPeer, "", nest("ledger.state.couchDBConfig.cacheSize", 128), "ledger.state.couchDBConfig.cacheSize", []string{"goleveldb", "remove it"}},
		{"statsd without an address", KindPeer, "", nest("metrics.provider", "statsd"), "metrics.provider", []string{"set metrics.statsd.address"}},
		{"statsd with an empty address", KindOrderer, "", nestAll(map[string]any{"Metrics.Provider": "statsd", "Metrics.Statsd.Address": ""}), "Metrics.Provider", []string{"set Metrics.Statsd.Address"}},
		{"address without statsd", KindOrderer, "", nest("Metrics.Statsd.Address", "h:1"), "Metrics.Statsd.Address", []string{"Metrics.Provider is prometheus"}},
		{"builders without ours", KindPeer, "", nest("chaincode.externalBuilders", []any{object{"name": "mine", "path": "/mine"}}), "chaincode.externalBuilders", []string{"ccaas_builder", "/opt/hyperledger/ccaas_builder"}},
		{"no builders", KindPeer, "", nest("chaincode.externalBuilders", []any{}), "chaincode.externalBuilders", []string{"ccaas_builder"}},
		{"builders of one name", KindPeer, "", nest("chaincode.externalBuilders", []any{ccaas, ccaas}), "chaincode.externalBuilders[1]", []string{"second builder"}},
		{"handler that is not there", KindPeer, "", nest("peer.handlers.authFilters", []any{object{"name": "Nope"}}), "peer.handlers.authFilters[0]", []string{`no handler "Nope"`}},
		{"handler of 3.x", KindPeer, "2.5.9", nest("peer.handlers.authFilters", []any{object{"name": "TimeWindowCheck"}}), "peer.handlers.authFilters[0]", []string{"Fabric 2.5.9 has no handler"}},
		{"endorser that is not there", KindPeer, "", nest("peer.handlers.endorsers", object{"escc": object{"name": "DefaultESCC"}}), "peer.handlers.endorsers.escc", []string{"would panic"}},
		{"throttling without client certificates", KindOrderer, "3.1.1", nest("General.Throttling.Rate", 100), "General.Throttling.Rate", []string{"no effect", "General.TLS.ClientAuthRequired is false"}},
		{"backoff", KindOrderer, "3.1.1", nest("General.Backoff.MaxDelay", "500ms"), "General.Backoff.MaxDelay", []string{"General.Backoff.BaseDelay (1s)"}},
		{"backoff that shrinks", KindOrderer, "3.1.1", nest("General.Backoff.Multiplier", 0.5), "General.Backoff.Multiplier", []string{"at least 1"}},
		{"time shift of a listener that is not there", KindOrderer, "", nest("General.Cluster.TLSHandshakeTimeShift", "1m"), "General.Cluster.TLSHandshakeTimeShift", []string{"set General.TLS.TLSHandshakeTimeShift"}},

		// Ports.
		{"profile on the peer's port", KindPeer, "", nestAll(map[string]any{"peer.profile.enabled": true, "peer.profile.listenAddress": "127.0.0.1:7051"}), "peer.profile.listenAddress", []string{"same port", "peer.listenAddress (0.0.0.0:7051)"}},
		{"profile on the operations port", KindPeer, "", nestAll(map[string]any{"peer.profile.enabled": true, "peer.profile.listenAddress": ":9443"}), "peer.profile.listenAddress", []string{"operations.listenAddress"}},
		{"profile on the orderer's port", KindOrderer, "", nestAll(map[string]any{"General.Profile.Enabled": true, "General.Profile.Address": "0.0.0.0:7050"}), "General.Profile.Address", []string{"General.ListenPort (0.0.0.0:7050)"}},
		{"profile on the admin port", KindOrderer, "", nestAll(map[string]any{"General.Profile.Enabled": true, "General.Profile.Address": "localhost:7053"}), "General.Profile.Address", []string{"Admin.ListenAddress"}},
		{"profile without an address", KindPeer, "", nestAll(map[string]any{"peer.profile.enabled": true, "peer.profile.listenAddress": ""}), "peer.profile.listenAddress", []string{"is empty"}},
		{"address of a profile that is off", KindOrderer, "", nest("General.Profile.Address", "127.0.0.1:6060"), "General.Profile.Address", []string{"no effect"}},
	} {
		versions := []string{"2.5.9", "3.1.1"}
		if tc.version != "" {
			versions = []string{tc.version}
		}
		for _, version := range versions {
			t.Run(string(tc.kind)+"/"+tc.name+"/"+version, func(t *testing.T) {
				v := mustVersion(t, version)
				problems := ValidatePeer(v, testPeer(), tc.overlay)
				if tc.kind == KindOrderer {
					problems = ValidateOrderer(v, testOrderer(), tc.overlay)
				}
				if len(problems) == 0 || !slices.ContainsFunc(problems, func(p Problem) bool { return p.Path == tc.path }) {
					t.Fatalf("no problem at %s: %v", tc.path, problems)
				}
				for _, p := range problems {
					if p.Path != tc.path {
						continue
					}
					for _, want := range tc.says {
						if !strings.Contains(p.String(), want) {
							t.Errorf("does not say %q: %s", want, p)
						}
					}
					for _, secret := range []string{"adminpw", "1234"} {
						if strings.Contains(p.String(), secret) {
							t.Errorf("the problem tells the secret: %s", p)
						}
					}
				}
				if len(problems) != 1 && tc.name != "both leaders" {
					t.Errorf("one mistake, %d problems: %v", len(problems), problems)
				}
				if _, err := testRelease(tc.kind, v, tc.overlay); err == nil {
					t.Error("it is rendered all the same")
				}
			})
		}
	}

	if problems := ValidatePeer(mustVersion(t, "3.1.1"), couch, nest("ledger.state.couchDBConfig.cacheSize", 128)); len(problems) != 0 {
		t.Errorf("settings of CouchDB with CouchDB: %v", problems)
	}
}

func TestOverlayIsAccepted(t *testing.T) {
	type object = map[string]any
	for _, tc := range []struct {
		kind    Kind
		version string
		overlay Overlay
		path    string
		want    any // as it is decoded from the rendered file
	}{
		{KindPeer, "2.5.9", nest("peer.limits.concurrency.endorserService", float64(10)), "peer.limits.concurrency.endorserService", 10},
		{KindPeer, "2.5.9", nest("peer.limits.concurrency.endorserService", int64(0)), "peer.limits.concurrency.endorserService", 0},
		{KindPeer, "3.1.1", nest("PEER.gossip.STATE.channelsize", 5), "peer.gossip.state.channelSize", 5},
		{KindPeer, "3.1.1", nest("peer.discovery.authCachePurgeRetentionRatio", 1), "peer.discovery.authCachePurgeRetentionRatio", 1},
		{KindPeer, "3.1.1", nest("peer.validatorPoolSize", 4), "peer.validatorPoolSize", 4},
		{KindPeer, "3.1.1", nest("peer.connectiontimeout", "7s"), "peer.connectiontimeout", "7s"},
		{KindPeer, "3.1.1", nest("peer.deliveryclient.policy", "simple"), "peer.deliveryclient.policy", "simple"},
		{KindPeer, "3.1.1", nest("peer.deliveryclient.reConnectBackoffThreshold", "1m0.5s"), "peer.deliveryclient.reConnectBackoffThreshold", "1m0.5s"},
		{KindPeer, "3.1.1", nest("metrics.provider", "disabled"), "metrics.provider", "disabled"},
		{KindPeer, "3.1.1", nest("chaincode.system.lscc", "disable"), "chaincode.system.lscc", "disable"},
		{KindPeer, "3.1.1", nest("peer.networkId", "yes"), "peer.networkId", "yes"},
		{KindPeer, "3.1.1", nest("peer.handlers.endorsers", object{"escc": object{"name": "Mine", "library": "/opt/mine.so"}}), "peer.handlers.endorsers.escc.library", "/opt/mine.so"},
		{KindPeer, "3.1.1", nestAll(map[string]any{"peer.profile.enabled": true}), "peer.profile.listenAddress", "0.0.0.0:6060"},
		{KindPeer, "3.1.1", nest("peer.gossip.state.enabled", true), "peer.gossip.orgLeader", true},
		{KindOrderer, "2.5.9", nest("general.connectiontimeout", "3s"), "General.ConnectionTimeout", "3s"},
		{KindOrderer, "2.5.9", nest("ChannelParticipation.MaxRequestBodySize", "2g"), "ChannelParticipation.MaxRequestBodySize", "2g"},
		{KindOrderer, "3.1.1", nest("ChannelParticipation.MaxRequestBodySize", 1<<20), "ChannelParticipation.MaxRequestBodySize", 1 << 20},
		{KindOrderer, "3.1.1", nest("General.Backoff.Multiplier", 2), "General.Backoff.Multiplier", 2},
		{KindOrderer, "3.1.1", nest("General.Keepalive.ServerMinInterval", "60s"), "General.Keepalive.ServerMinInterval", "60s"},
		{KindOrderer, "3.1.1", nest("Debug.BroadcastTraceDir", "/tmp/trace"), "Debug.BroadcastTraceDir", "/tmp/trace"},
	} {
		v := mustVersion(t, tc.version)
		if problems := Validate(tc.kind, v, tc.overlay); len(problems) != 0 {
			t.Errorf("%s: %v", tc.path, problems)
			continue
		}
		raw, err := testRelease(tc.kind, v, tc.overlay)
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
			continue
		}
		if got, _ := decode(t, raw).at(tc.path); got != tc.want {
			t.Errorf("%s is %#v, want %#v", tc.path, got, tc.want)
		}
	}

	// A list is replaced, with the provider's own builder kept in it.
	raw, err := RenderPeer(mustVersion(t, "3.1.1"), testPeer(), nest("chaincode.externalBuilders", []any{
		object{"name": "mine", "path": "/opt/mine"},
		object{"Name": "ccaas_builder", "Path": "/opt/hyperledger/ccaas_builder", "propagateEnvironment": []any{"CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if builders := decode(t, raw).objects("chaincode.externalBuilders"); len(builders) != 2 || builders[1]["name"] != "ccaas_builder" {
		t.Errorf("builders: %v", builders)
	}

	// Throttling works with client certificates, a time shift with a listener.
	orderer := testOrderer()
	orderer.TLS.ClientAuth = true
	orderer.Cluster.Listener = &ClusterListener{ListenAddress: "0.0.0.0:7055", CertFile: "/c", KeyFile: "/k"}
	if problems := ValidateOrderer(mustVersion(t, "3.1.1"), orderer, nestAll(map[string]any{"General.Throttling.Rate": 10, "General.Cluster.TLSHandshakeTimeShift": "1m"})); len(problems) != 0 {
		t.Error(problems)
	}
}

// Without a node, nothing can be said about what only the node decides.
func TestValidateWithoutNode(t *testing.T) {
	v := mustVersion(t, "3.1.1")
	for path, value := range map[string]any{"ledger.state.couchDBConfig.cacheSize": 128, "peer.profile.enabled": true} {
		if problems := Validate(KindPeer, v, nest(path, value)); len(problems) != 0 {
			t.Errorf("%s: %v", path, problems)
		}
	}
	if problems := Validate(KindOrderer, v, nest("General.Throttling.Rate", 10)); len(problems) != 0 {
		t.Error(problems)
	}
	if problems := Validate(KindPeer, v, nest("peer.gossip.useLeaderElection", true)); len(problems) == 0 {
		t.Error("a combination that needs no node is accepted")
	}
}

func TestNodeIsRefused(t *testing.T) {
	v := mustVersion(t, "3.1.1")
	for _, tc := range []struct {
		path   string
		change func(*Peer)
	}{
		{"peer.id", func(p *Peer) { p.ID = "" }},
		{"peer.localMspId", func(p *Peer) { p.MSPID = "" }},
		{"peer.mspConfigPath", func(p *Peer) { p.MSPDir = "msp" }},
		{"peer.fileSystemPath", func(p *Peer) { p.DataDir = "" }},
		{"ledger.snapshots.rootDir", func(p *Peer) { p.SnapshotDir = "./snapshots" }},
		{"peer.listenAddress", func(p *Peer) { p.ListenAddress = ":7051" }},
		{"peer.address", func(p *Peer) { p.Address = "peer0" }},
		{"peer.gossip.externalEndpoint", func(p *Peer) { p.ExternalEndpoint = "peer0:70510000" }},
		{"peer.gossip.bootstrap[1]", func(p *Peer) { p.GossipBootstrap[1] = "" }},
		{"peer.chaincodeAddress", func(p *Peer) { p.ChaincodeAddress = "" }},
		{"peer.tls.cert.file", func(p *Peer) { p.TLS.CertFile = "tls/server.crt" }},
		{"peer.tls.rootcert.file", func(p *Peer) { p.TLS.RootFiles = []string{"/a", "/b"} }},
		{"operations.tls.clientRootCAs.files", func(p *Peer) { p.Operations.ClientRootFiles = nil }},
		{"operations.listenAddress", func(p *Peer) { p.Operations.ListenAddress = p.ListenAddress }},
		{"peer.chaincodeListenAddress", func(p *Peer) { p.ChaincodeListenAddress = "127.0.0.1:7051" }},
		{"ledger.state.couchDBConfig.couchDBAddress", func(p *Peer) { p.CouchDB = &CouchDB{} }},
	} {
		p := testPeer()
		tc.change(&p)
		problems := ValidatePeer(v, p, nil)
		if len(problems) == 0 || problems[0].Path != tc.path {
			t.Errorf("%s: %v", tc.path, problems)
		}
		if _, err := RenderPeer(v, p, nil); err == nil {
			t.Errorf("%s: it is rendered", tc.path)
		}
	}
	for _, tc := range []struct {
		path   string
		change func(*Orderer)
	}{
		{"General.LocalMSPID", func(o *Orderer) { o.MSPID = "" }},
		{"General.LocalMSPDir", func(o *Orderer) { o.MSPDir = "" }},
		{"General.ListenAddress", func(o *Orderer) { o.ListenAddress = ":7050" }},
		{"General.TLS.PrivateKey", func(o *Orderer) { o.TLS.KeyFile = "key" }},
		{"General.Cluster.ClientCertificate", func(o *Orderer) { o.Cluster.ClientCertFile = "" }},
		{"General.Cluster.ServerPrivateKey", func(o *Orderer) { o.Cluster.Listener = &ClusterListener{ListenAddress: "0.0.0.0:1", CertFile: "/c"} }},
		{"General.Cluster.ListenPort", func(o *Orderer) {
			o.Cluster.Listener = &ClusterListener{ListenAddress: "0.0.0.0:7050", CertFile: "/c", KeyFile: "/k"}
		}},
		{"Admin.TLS.ClientRootCAs", func(o *Orderer) { o.Admin.ClientRootFiles = nil }},
		{"Admin.ListenAddress", func(o *Orderer) { o.Admin.ListenAddress = "0.0.0.0:7050" }},
		{"Operations.ListenAddress", func(o *Orderer) { o.Operations.ListenAddress = o.Admin.ListenAddress }},
		{"FileLedger.Location", func(o *Orderer) { o.LedgerDir = "" }},
		{"Consensus.SnapDir", func(o *Orderer) { o.SnapDir = o.WALDir }},
	} {
		o := testOrderer()
		tc.change(&o)
		problems := ValidateOrderer(v, o, nil)
		if len(problems) == 0 || problems[0].Path != tc.path {
			t.Errorf("%s: %v", tc.path, problems)
		}
		if _, err := RenderOrderer(v, o, nil); err == nil {
			t.Errorf("%s: it is rendered", tc.path)
		}
	}
	// Two literal addresses share a port.
	p := testPeer()
	p.ListenAddress, p.Operations.ListenAddress = "10.0.0.1:7051", "127.0.0.1:7051"
	if problems := ValidatePeer(v, p, nil); len(problems) != 0 {
		t.Error(problems)
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"gosip", "gossip", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
