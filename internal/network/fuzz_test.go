package network

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"reflect"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// FuzzParseCRL reads revocation lists as a volume may hold them after a write that was cut short.
func FuzzParseCRL(f *testing.F) {
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "ca.org1", Organization: "org1", Validity: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: time.Now()}, {SerialNumber: big.NewInt(255), RevocationTime: time.Now()}},
	}, root.Certificate, root.Key)
	if err != nil {
		f.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseCRL(text)
		if err != nil {
			return
		}
		numbers := serials(list)
		if len(numbers) > len(list.RevokedCertificateEntries) {
			t.Fatalf("%d numbers of %d entries", len(numbers), len(list.RevokedCertificateEntries))
		}
		again, err := parseCRL(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw}))
		if err != nil || !reflect.DeepEqual(numbers, serials(again)) {
			t.Fatalf("written again, it says something else: %v", err)
		}
	})
}

// FuzzProfile writes names and addresses into a connection profile that are no good ones: what is read of
// it, as JSON or as YAML, is what was written.
func FuzzProfile(f *testing.F) {
	f.Add("dev", "peer0.org1", "grpcs://localhost:7051", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
	f.Add("y", "null", "0x10", "- a: {b")
	f.Add("\"", "\u2028", "#", "|\n  x\n ")
	f.Fuzz(func(t *testing.T, name, node, url, pemText string) {
		p := Profile{
			Name: name, Version: "1.0.0", Organizations: map[string]profileOrganization{name: {MSPID: node, Peers: []string{node}}},
			Peers: map[string]profileNode{node: {URL: url, TLSCACerts: profilePEM{PEM: pemText}}},
		}
		text, err := p.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var fromJSON Profile
		if err := json.Unmarshal(text, &fromJSON); err != nil {
			t.Fatal(err)
		}
		if text, err = fromJSON.YAML(); err != nil { // JSON has put what is no UTF-8 right
			t.Fatal(err)
		}
		var fromYAML Profile
		if err := yaml.Unmarshal(text, &fromYAML); err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		if !reflect.DeepEqual(fromJSON, fromYAML) {
			t.Fatalf("%+v became %+v", fromJSON, fromYAML)
		}
	})
}

// FuzzClusterPlan plans on facts that another version of the provider, or nobody, may have kept.
func FuzzClusterPlan(f *testing.F) {
	f.Add([]byte(`{"trade":{"consenters":["orderer0:7050"],"endpoints":["orderer0:7050"],"organizations":["OrdererMSP"],"leader":"orderer0"}}`), uint8(3), uint8(1))
	f.Add([]byte(`{"":{}}`), uint8(0), uint8(2))
	f.Add([]byte(`{"a":{"consenters":["x","x"],"consensus":"BFT","bft":{"RequestPoolSize":1},"unlisted":["orderer1"]}}`), uint8(2), uint8(3))
	f.Fuzz(func(t *testing.T, raw []byte, before, after uint8) {
		change := ClusterChange{Before: map[string]PlannedOrderer{}, After: map[string]PlannedOrderer{}, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}}
		if json.Unmarshal(raw, &change.Channels) != nil {
			return
		}
		for i, name := range []string{"orderer0", "orderer1", "orderer2", "orderer3"} {
			node := PlannedOrderer{Address: name + ":7050", Status: engine.Running, Restart: i%2 == 0}
			if before&(1<<i) != 0 {
				change.Before[name] = node
			}
			if after&(1<<i) != 0 {
				change.After[name] = node
			}
		}
		one, two := change.Plan(), change.Plan()
		if !reflect.DeepEqual(one.Steps, two.Steps) || !reflect.DeepEqual(one.Outages, two.Outages) {
			t.Fatalf("it plans once %v, and then %v", one, two)
		}
	})
}
