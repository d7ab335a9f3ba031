package nodeconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files")

func mustVersion(t testing.TB, s string) Version {
	t.Helper()
	v, err := ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func testPeer() Peer {
	return Peer{
		ID: "peer0.org1.example.com", MSPID: "Org1MSP",
		ListenAddress:          "0.0.0.0:7051",
		Address:                "peer0.org1.example.com:7051",
		ExternalEndpoint:       "peer0.org1.example.com:7051",
		GossipBootstrap:        []string{"peer0.org1.example.com:7051", "peer1.org1.example.com:7051"},
		ChaincodeListenAddress: "0.0.0.0:7052",
		ChaincodeAddress:       "peer0.org1.example.com:7052",
		MSPDir:                 "/etc/hyperledger/fabric/msp",
		DataDir:                "/var/hyperledger/production",
		TLS: ServerTLS{
			CertFile: "/etc/hyperledger/fabric/tls/server.crt", KeyFile: "/etc/hyperledger/fabric/tls/server.key",
			RootFiles: []string{"/etc/hyperledger/fabric/tls/ca.crt"},
		},
		Operations: Endpoint{
			ListenAddress: "0.0.0.0:9443",
			CertFile:      "/etc/hyperledger/fabric/operations/server.crt", KeyFile: "/etc/hyperledger/fabric/operations/server.key",
			ClientRootFiles: []string{"/etc/hyperledger/fabric/operations/ca.crt"},
		},
	}
}

func testOrderer() Orderer {
	endpoint := func(address, name string) Endpoint {
		return Endpoint{
			ListenAddress: address,
			CertFile:      "/etc/hyperledger/fabric/" + name + "/server.crt", KeyFile: "/etc/hyperledger/fabric/" + name + "/server.key",
			ClientRootFiles: []string{"/etc/hyperledger/fabric/" + name + "/ca.crt"},
		}
	}
	return Orderer{
		MSPID: "OrdererMSP", MSPDir: "/etc/hyperledger/fabric/msp",
		ListenAddress: "0.0.0.0:7050",
		TLS: ServerTLS{
			CertFile: "/etc/hyperledger/fabric/tls/server.crt", KeyFile: "/etc/hyperledger/fabric/tls/server.key",
			RootFiles: []string{"/etc/hyperledger/fabric/tls/ca.crt"},
		},
		Cluster: Cluster{
			ClientCertFile: "/etc/hyperledger/fabric/tls/server.crt", ClientKeyFile: "/etc/hyperledger/fabric/tls/server.key",
			RootFiles: []string{"/etc/hyperledger/fabric/tls/ca.crt"},
		},
		Admin:      endpoint("0.0.0.0:7053", "admin"),
		Operations: endpoint("0.0.0.0:9443", "operations"),
		LedgerDir:  "/var/hyperledger/production/orderer",
		WALDir:     "/var/hyperledger/production/orderer/etcdraft/wal",
		SnapDir:    "/var/hyperledger/production/orderer/etcdraft/snapshot",
	}
}

func testRelease(kind Kind, v Version, o Overlay) ([]byte, error) {
	if kind == KindOrderer {
		return RenderOrderer(v, testOrderer(), o)
	}
	return RenderPeer(v, testPeer(), o)
}

func decode(t testing.TB, raw []byte) tree {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal(raw, &out); err != nil {
		t.Fatalf("rendered file does not parse: %v", err)
	}
	return out
}

func TestGolden(t *testing.T) {
	full := testPeer()
	full.CouchDB = &CouchDB{Address: "couchdb.peer0.org1.example.com:5984", Username: "peer0"}
	full.SnapshotDir = "/var/hyperledger/snapshots"
	full.TLS.ClientAuth = true
	full.TLS.ClientRootFiles = []string{"/etc/hyperledger/fabric/tls/clients.crt"}
	fullOrderer := testOrderer()
	fullOrderer.TLS.ClientAuth = true
	fullOrderer.Cluster.Listener = &ClusterListener{ListenAddress: "0.0.0.0:7055", CertFile: "/etc/hyperledger/fabric/cluster/server.crt", KeyFile: "/etc/hyperledger/fabric/cluster/server.key"}

	for _, version := range []string{"2.5.9", "3.1.1"} {
		v := mustVersion(t, version)
		for name, render := range map[string]func() ([]byte, error){
			"core-" + version: func() ([]byte, error) { return RenderPeer(v, testPeer(), nil) },
			"core-" + version + "-overlay": func() ([]byte, error) {
				return RenderPeer(v, full, Overlay{
					"Peer": map[string]any{
						"gossip":   map[string]any{"useleaderelection": true, "orgLeader": false, "state": map[string]any{"enabled": true}},
						"handlers": map[string]any{"endorsers": map[string]any{"escc": map[string]any{"name": "DefaultEndorsement"}}},
						"limits":   map[string]any{"concurrency": map[string]any{"gatewayService": float64(1000)}},
						"profile":  map[string]any{"enabled": true, "listenAddress": "127.0.0.1:6060"},
					},
					"ledger": map[string]any{"state": map[string]any{"couchDBConfig": map[string]any{"cacheSize": int64(128)}}},
				})
			},
			"orderer-" + version: func() ([]byte, error) { return RenderOrderer(v, testOrderer(), nil) },
			"orderer-" + version + "-overlay": func() ([]byte, error) {
				return RenderOrderer(v, fullOrderer, Overlay{
					"general": map[string]any{
						"cluster": map[string]any{"rpctimeout": "3s", "tlsHandshakeTimeShift": "1m"},
						"Profile": map[string]any{"Enabled": true, "Address": "127.0.0.1:6060"},
					},
					"ChannelParticipation": map[string]any{"MaxRequestBodySize": "16 MB"},
					"Consensus":            map[string]any{"EvictionSuspicion": "1m"},
					"Metrics":              map[string]any{"Provider": "statsd", "Statsd": map[string]any{"Address": "statsd:8125"}},
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				got, err := render()
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", "golden", name+".yaml")
				if *update {
					if err := os.WriteFile(file, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s differs from what is rendered (run with -update and look at the difference):\n%s", file, got)
				}
				again, err := render()
				if err != nil || !bytes.Equal(got, again) {
					t.Errorf("rendered twice, the bytes differ (%v)", err)
				}
			})
		}
	}
}

// Each default, set by an overlay to its own value, must pass its own schema,
// or be refused for the reason that its rule states.
func TestEveryDefaultPassesItsSchema(t *testing.T) {
	for _, r := range releases() {
		for _, kind := range []Kind{KindPeer, KindOrderer} {
			s := r.schema(kind)
			count := 0
			var walk func(path string, value any, reserved bool)
			walk = func(path string, value any, reserved bool) {
				k := s.find(path)
				if k == nil {
					t.Fatalf("%s %s: default %s is not in the schema", kind, r.version, path)
				}
				if k.path != path {
					t.Errorf("%s %s: default %s has the rule of %s", kind, r.version, path, k.path)
				}
				reserved = reserved || k.reserved != "" || k.inert != ""
				if object, ok := value.(map[string]any); ok && k.typ == typeSection {
					for name, child := range object {
						walk(join(path, name), child, reserved)
					}
					return
				}
				count++
				if k.typ == typeAny && !reserved {
					t.Errorf("%s %s: %s has no type", kind, r.version, path)
				}
				if value == nil {
					return
				}
				overlay := tree{}
				overlay.put(path, value)
				got := s.read(Overlay(overlay))
				if reserved && (len(got.problems) != 1 || got.problems[0].Path != path || len(got.tree) != 0) {
					t.Errorf("%s %s: %s belongs to the provider or is inert, problems: %v", kind, r.version, path, got.problems)
				}
				if !reserved && len(got.problems) != 0 {
					t.Errorf("%s %s: default of %s is refused: %v", kind, r.version, path, got.problems)
				}
			}
			for name, value := range s.defaults {
				walk(name, value, false)
			}
			if count < 60 {
				t.Errorf("%s %s: only %d keys", kind, r.version, count)
			}
		}
	}
}

// A rule that matches nothing would be a typing error in the table.
func TestEveryRuleAppliesSomewhere(t *testing.T) {
	for kind, rules := range map[Kind][]keyRule{KindPeer: coreKeys, KindOrderer: ordererKeys} {
		for _, rule := range rules {
			found := 0
			for _, r := range releases() {
				k := r.schema(kind).find(rule.path)
				if k == nil {
					continue
				}
				found++
				if k.path != rule.path {
					t.Errorf("%s: rule %s, key %s", kind, rule.path, k.path)
				}
				if rule.hidden && r.version.String() == "2.5.9" && rule.path != "General.BootstrapMethod" && rule.path != "General.BootstrapFile" {
					if _, listed := tree(r.schema(kind).defaults).at(rule.path); listed {
						t.Errorf("%s: %s is hidden, but the sample of %s lists it", kind, rule.path, r.version)
					}
				}
				if rule.typ == typeInferred && k.typ == typeAny && rule.reserved == "" && rule.inert == "" {
					t.Errorf("%s: %s has no type", kind, rule.path)
				}
			}
			want := len(releases())
			if rule.major != 0 {
				want = 1
			}
			if found == 0 || rule.hidden && found != want {
				t.Errorf("%s: rule %s applies to %d releases", kind, rule.path, found)
			}
		}
	}
}

// Nothing of the sample's identity, relative paths or addresses may survive,
// and every file that a node reads must be absolute.
func TestNothingOfTheSampleSurvives(t *testing.T) {
	paths := map[Kind][]string{
		KindPeer: {
			"peer.mspConfigPath", "peer.fileSystemPath", "peer.tls.cert.file", "peer.tls.key.file", "peer.tls.rootcert.file",
			"operations.tls.cert.file", "operations.tls.key.file", "ledger.snapshots.rootDir",
		},
		KindOrderer: {
			"General.LocalMSPDir", "General.TLS.Certificate", "General.TLS.PrivateKey", "General.Cluster.ClientCertificate",
			"General.Cluster.ClientPrivateKey", "Admin.TLS.Certificate", "Admin.TLS.PrivateKey", "Operations.TLS.Certificate",
			"Operations.TLS.PrivateKey", "FileLedger.Location", "Consensus.WALDir", "Consensus.SnapDir",
		},
	}
	for _, r := range releases() {
		for kind, files := range paths {
			raw, err := testRelease(kind, r.version, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := decode(t, raw)
			for _, path := range files {
				if s, _ := got.text(path); !filepath.IsAbs(s) {
					t.Errorf("%s %s: %s is %q", kind, r.version, path, s)
				}
			}
			for _, sample := range []string{"SampleOrg", "jdoe", " tls/", "docker.sock", "hostConfig", "127.0.0.1:7051", "127.0.0.1:9443", "127.0.0.1:8443", "PKCS11", "password", ": null"} {
				if strings.Contains(strings.ToLower(string(raw)), strings.ToLower(sample)) && !(sample == "password" && kind == KindOrderer) {
					t.Errorf("%s %s: the rendered file holds %q of the sample", kind, r.version, sample)
				}
			}
		}
	}
}

func TestProviderSettings(t *testing.T) {
	for _, version := range []string{"2.5.9", "3.1.1"} {
		raw, err := RenderPeer(mustVersion(t, version), testPeer(), nil)
		if err != nil {
			t.Fatal(err)
		}
		peer := decode(t, raw)
		for path, want := range map[string]any{
			"peer.id": "peer0.org1.example.com", "peer.tls.enabled": true, "peer.tls.clientAuthRequired": false,
			"operations.tls.enabled": true, "operations.tls.clientAuthRequired": true, "metrics.provider": "prometheus",
			"vm.endpoint": "", "peer.deliveryclient.reConnectBackoffThreshold": "15s", "peer.gateway.enabled": true,
			"peer.gossip.orgLeader": true, "peer.gossip.useLeaderElection": false, "ledger.state.stateDatabase": "goleveldb",
			"ledger.snapshots.rootDir": "/var/hyperledger/production/snapshots", "chaincode.system._lifecycle": "enable",
		} {
			if got, _ := peer.at(path); got != want {
				t.Errorf("%s: %s is %v, want %v", version, path, got, want)
			}
		}
		builders := peer.objects("chaincode.externalBuilders")
		if len(builders) != 1 || builders[0]["path"] != "/opt/hyperledger/ccaas_builder" {
			t.Errorf("%s: builders %v", version, builders)
		}

		raw, err = RenderOrderer(mustVersion(t, version), testOrderer(), nil)
		if err != nil {
			t.Fatal(err)
		}
		orderer := decode(t, raw)
		for path, want := range map[string]any{
			"General.ListenAddress": "0.0.0.0", "General.ListenPort": 7050, "Admin.TLS.ClientAuthRequired": true,
			"Operations.TLS.ClientAuthRequired": true, "ChannelParticipation.Enabled": true, "General.TLS.Enabled": true,
			"General.Cluster.ReplicationRetryTimeout": "500ms", "General.Cluster.ReplicationMaxRetries": 120,
		} {
			if got, _ := orderer.at(path); got != want {
				t.Errorf("%s: %s is %v, want %v", version, path, got, want)
			}
		}
		method, _ := orderer.at("General.BootstrapMethod")
		if want := map[string]any{"2.5.9": "none", "3.1.1": nil}[version]; method != want {
			t.Errorf("%s: General.BootstrapMethod is %v, want %v", version, method, want)
		}
	}
}

// With SmartBFT a peer must pull its own blocks and check them against several
// orderers.
func TestDefaultsAreSafeForBFT(t *testing.T) {
	raw, err := RenderPeer(mustVersion(t, "3.1.1"), testPeer(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, raw)
	for path, want := range map[string]any{
		"peer.deliveryclient.policy": "cluster", "peer.deliveryclient.blockGossipEnabled": false,
		"peer.gossip.orgLeader": true, "peer.gossip.state.enabled": false,
	} {
		if value, _ := got.at(path); value != want {
			t.Errorf("%s is %v, want %v", path, value, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, tc := range []struct {
		in, defaults string
		bft          bool
	}{
		{"2.5", "2.5.9", false},
		{"2.5.0", "2.5.9", false},
		{"v2.5.14", "2.5.9", false},
		{"3.0.0", "3.1.1", true},
		{"3.1", "3.1.1", true},
		{"3.2.7", "3.1.1", true},
		{"2.4.9", "", false},
		{"1.4", "", false},
		{"4.0.0", "", true},
	} {
		v := mustVersion(t, tc.in)
		if v.SupportsBFT() != tc.bft || v.SupportsChannelV3() != tc.bft {
			t.Errorf("%s: SupportsBFT %v", tc.in, v.SupportsBFT())
		}
		raw, err := RenderOrderer(v, testOrderer(), nil)
		problems := Validate(KindPeer, v, nil)
		if tc.defaults == "" {
			if !errors.Is(err, ErrUnsupportedVersion) || !errors.Is(v.Supported(), ErrUnsupportedVersion) || len(problems) != 1 || problems[0].Path != "" {
				t.Errorf("%s: %v, %v", tc.in, err, problems)
			}
			if text := v.Supported().Error(); !strings.Contains(text, "2.5.9") || !strings.Contains(text, "3.1.1") || !strings.Contains(text, tc.in) {
				t.Errorf("%s: the error does not list what is supported: %s", tc.in, text)
			}
			continue
		}
		if err != nil || v.Supported() != nil || len(problems) != 0 {
			t.Errorf("%s: %v, %v", tc.in, err, problems)
		}
		if !strings.Contains(string(raw), "Fabric "+tc.defaults+".") {
			t.Errorf("%s: not from the defaults of %s:\n%.120s", tc.in, tc.defaults, raw)
		}
	}
	for _, in := range []string{"", "3", "3.x", "3.1.1.1", "3.1.1-rc1", "latest", "03.1", "3.-1", "3.1.", " 3.1", "vv3.1", "99999.1"} {
		if v, err := ParseVersion(in); err == nil {
			t.Errorf("%q is read as %v", in, v)
		}
	}
	if err := (Version{}).Supported(); !errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("zero version: %v", err)
	}
	ordered := []string{"2.5.0", "2.5.9", "2.5.14", "3.0.0", "3.1", "3.1.1"}
	for i := 1; i < len(ordered); i++ {
		a, b := mustVersion(t, ordered[i-1]), mustVersion(t, ordered[i])
		if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 {
			t.Errorf("%s and %s are in the wrong order", a, b)
		}
	}
	if v := mustVersion(t, "v3.1.1"); v.String() != "3.1.1" || v.Major() != 3 || v.Minor() != 1 {
		t.Errorf("%v %d %d", v, v.Major(), v.Minor())
	}
}

func TestErrorHoldsEveryProblem(t *testing.T) {
	_, err := RenderPeer(mustVersion(t, "3.1.1"), testPeer(), Overlay{"peer": map[string]any{"gosip": map[string]any{"a": 1}, "profile": map[string]any{"enabled": "yes"}}})
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(invalid.Problems) != 2 || invalid.Kind != KindPeer {
		t.Fatalf("%#v", err)
	}
	for _, want := range []string{"unable to render core.yaml", "peer.gosip.a", "peer.profile.enabled must be true or false, given a string"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

// The overlay belongs to the caller and the defaults to every later call.
func TestInputsAreNotChanged(t *testing.T) {
	overlay := Overlay{"peer": map[string]any{"handlers": map[string]any{"authFilters": []any{map[string]any{"name": "DefaultAuth", "library": nil}}}}}
	before, _ := json.Marshal(overlay)
	plain, err := RenderPeer(mustVersion(t, "3.1.1"), testPeer(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RenderPeer(mustVersion(t, "3.1.1"), testPeer(), overlay); err != nil {
		t.Fatal(err)
	}
	if after, _ := json.Marshal(overlay); !bytes.Equal(before, after) {
		t.Errorf("the overlay was changed: %s", after)
	}
	if again, _ := RenderPeer(mustVersion(t, "3.1.1"), testPeer(), nil); !bytes.Equal(plain, again) {
		t.Error("an overlay changed the defaults of a later call")
	}
}

func TestNullsChangeNothing(t *testing.T) {
	for _, kind := range []Kind{KindPeer, KindOrderer} {
		v := mustVersion(t, "3.1.1")
		plain, err := testRelease(kind, v, nil)
		if err != nil {
			t.Fatal(err)
		}
		overlay := Overlay{"peer": map[string]any{"id": nil, "gossip": nil, "validatorPoolSize": nil}, "operations": map[string]any{"tls": nil}}
		if kind == KindOrderer {
			overlay = Overlay{"General": map[string]any{"ListenPort": nil, "Cluster": map[string]any{"RPCTimeout": nil}}}
		}
		got, err := testRelease(kind, v, overlay)
		if err != nil || !bytes.Equal(plain, got) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func FuzzOverlay(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"peer":{"gossip":{"useLeaderElection":true,"orgLeader":false,"state":{"enabled":true}}}}`,
		`{"peer":{"gosip":{"useLeaderElection":true}}}`, `{"PEER":{"ID":"x"},"peer":{}}`,
		`{"chaincode":{"externalBuilders":[{"name":"ccaas_builder","path":"/x"},3,null]}}`,
		`{"peer":{"handlers":{"endorsers":{"escc":{"name":"x"},"A.b":{}},"authFilters":[{"name":"DefaultAuth"}]}}}`,
		`{"General":{"Cluster":{"RPCTimeout":"-1s","ReplicationBufferSize":1e300},"Backoff":{"Multiplier":0.5}}}`,
		`{"ChannelParticipation":{"MaxRequestBodySize":"4096 MB"}}`, `{"Metrics":{"Provider":"statsd"}}`,
		`{"metrics":{"provider":"statsd","statsd":{"address":"h:1","prefix":"yes"}}}`, `{"peer":[]}`, `{"":{"":""}}`,
	} {
		f.Add([]byte(seed))
	}
	versions := []Version{mustVersion(f, "2.5"), mustVersion(f, "3.1.1"), mustVersion(f, "2.2.0")}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var overlay Overlay
		if json.Unmarshal(raw, &overlay) != nil {
			return
		}
		for _, v := range versions {
			for _, kind := range []Kind{KindPeer, KindOrderer} {
				loose := Validate(kind, v, overlay)
				strict := ValidatePeer(v, testPeer(), overlay)
				if kind == KindOrderer {
					strict = ValidateOrderer(v, testOrderer(), overlay)
				}
				for _, p := range loose {
					if p.Message == "" || !slices.Contains(strict, p) {
						t.Fatalf("%s %s: %v is a problem without the node, but not with it", kind, v, p)
					}
				}
				out, err := testRelease(kind, v, overlay)
				if (err == nil) != (len(strict) == 0) {
					t.Fatalf("%s %s: rendered with %v, problems %v", kind, v, err, strict)
				}
				if err != nil {
					continue
				}
				got := decode(t, out)
				again, err := testRelease(kind, v, overlay)
				if err != nil || !bytes.Equal(out, again) {
					t.Fatalf("%s %s: rendered twice, the bytes differ (%v)", kind, v, err)
				}
				if _, identity := got.text(map[Kind]string{KindPeer: "peer.localMspId", KindOrderer: "General.LocalMSPID"}[kind]); !identity {
					t.Fatalf("%s %s: no identity", kind, v)
				}
			}
		}
	})
}
