package network

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWhereAnAdoptedNodeListens(t *testing.T) {
	peer := Handle{Kind: KindPeer, Name: "peer0.org2", Domain: "example.com"}
	orderer := Handle{Kind: KindOrderer, Name: "orderer", Domain: "example.com"}
	admin := map[string]string{
		"ORDERER_ADMIN_LISTENADDRESS": "0.0.0.0:9053", "ORDERER_ADMIN_TLS_ENABLED": "true", "ORDERER_CHANNELPARTICIPATION_ENABLED": "true",
	}
	for name, c := range map[string]struct {
		handle     Handle
		env        map[string]string
		ports      map[int]int
		plain      []int
		advertised string
		refused    string
	}{
		"a peer as Fabric has it": {handle: peer, ports: map[int]int{7051: 7051}},
		"a peer of the samples": {
			handle: peer, env: map[string]string{
				"CORE_PEER_LISTENADDRESS": "0.0.0.0:9051", "CORE_PEER_ADDRESS": "peer0.org2.example.com:9051",
				"CORE_PEER_GOSSIP_EXTERNALENDPOINT": "peer0.org2.example.com:9051", "CORE_OPERATIONS_LISTENADDRESS": "peer0.org2.example.com:9445",
			},
			ports: map[int]int{7051: 9051, 9443: 9445}, plain: []int{9443}, advertised: "peer0.org2.example.com:9051",
		},
		"a peer whose operations endpoint only it reaches": {
			handle: peer, env: map[string]string{"CORE_OPERATIONS_LISTENADDRESS": "127.0.0.1:9443"}, ports: map[int]int{7051: 7051},
		},
		"operations with TLS": {
			handle: peer, env: map[string]string{"CORE_OPERATIONS_LISTENADDRESS": "0.0.0.0:9443", "CORE_OPERATIONS_TLS_ENABLED": "true"},
			ports: map[int]int{7051: 7051, 9443: 9443},
		},
		"an ordering node": {handle: orderer, env: admin, ports: map[int]int{7050: 7050, 7053: 9053}},
		"an ordering node without its admin endpoint": {
			handle: orderer, env: map[string]string{"ORDERER_CHANNELPARTICIPATION_ENABLED": "true"}, refused: "ORDERER_ADMIN_LISTENADDRESS",
		},
		"an ordering node whose admin endpoint only it reaches": {
			handle: orderer, env: map[string]string{"ORDERER_CHANNELPARTICIPATION_ENABLED": "true", "ORDERER_ADMIN_LISTENADDRESS": "localhost:7053"}, refused: "ORDERER_ADMIN_LISTENADDRESS",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := &examined{handle: c.handle, adoption: adoption{Ports: map[int]int{}}}
			err := e.takePorts(c.handle.Kind, c.env)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("it was not refused: %v", err)
				}
				return
			}
			if err != nil || !maps.Equal(e.Ports, c.ports) || !slices.Equal(e.Plain, c.plain) || e.options.AdvertisedAddress != c.advertised {
				t.Errorf("ports %v, without TLS %v, advertised %q, %v", e.Ports, e.Plain, e.options.AdvertisedAddress, err)
			}
		})
	}
}

func TestReleaseOfImage(t *testing.T) {
	for image, want := range map[string]string{
		"hyperledger/fabric-peer:2.5.9": "2.5.9", "registry.example.com:5000/fabric-peer:3.1.1": "3.1.1",
		"hyperledger/fabric-peer:3.1.1@sha256:" + strings.Repeat("0", 64): "3.1.1",
		"hyperledger/fabric-peer:latest":                                  "", "hyperledger/fabric-peer": "", "registry.example.com:5000/fabric-peer": "",
	} {
		version, err := releaseOfImage(image)
		if want == "" && err == nil || want != "" && version.String() != want {
			t.Errorf("%s gives %s, %v", image, version, err)
		}
	}
}

// An image's own configuration is renewed with it, but never a folder that holds the node's keys.
func TestConfigurationOfTheImage(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"keys elsewhere": {map[string]string{
			"ORDERER_GENERAL_LOCALMSPDIR": "/var/hyperledger/orderer/msp", "ORDERER_GENERAL_TLS_CERTIFICATE": "/var/hyperledger/orderer/tls/server.crt",
		}, "/etc/hyperledger/fabric"},
		"an MSP in it": {map[string]string{"ORDERER_GENERAL_TLS_CERTIFICATE": "/var/hyperledger/orderer/tls/server.crt"}, ""},
		"TLS in it": {map[string]string{
			"ORDERER_GENERAL_LOCALMSPDIR": "/var/hyperledger/orderer/msp", "ORDERER_GENERAL_TLS_CERTIFICATE": "tls/server.crt",
		}, ""},
	} {
		if got := imageConfig(KindOrderer, c.env); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestReadAdmin(t *testing.T) {
	h, _, _ := started(t, "ca.org1")
	made, err := h.createOrganization(h.organizationSpec("Org1MSP", "ca.org1"))
	h.must(err)
	keys, err := h.fabric.organizationKeys(h.ctx(), made.Handle)
	h.must(err)
	certPEM, keyPEM := pairIn(keys.files, adminFolder)
	put := func(root string, files map[string][]byte) {
		t.Helper()
		for name, content := range files {
			file := filepath.Join(root, name)
			h.must(os.MkdirAll(filepath.Dir(file), 0o700))
			h.must(os.WriteFile(file, content, 0o600))
		}
	}
	folder, user, half := t.TempDir(), t.TempDir(), t.TempDir()
	put(folder, map[string][]byte{"signcerts/cert.pem": certPEM, "keystore/priv_sk": keyPEM})
	put(user, map[string][]byte{
		"msp/signcerts/Admin@org1.example.com-cert.pem": certPEM, "msp/keystore/priv_sk": keyPEM, "tls/client.crt": certPEM, "tls/client.key": keyPEM,
	})
	put(half, map[string][]byte{"msp/signcerts/cert.pem": certPEM})
	for directory, tls := range map[string]bool{folder: false, user: true} {
		files, err := ReadAdmin(t.Context(), directory, made.Definition)
		h.must(err)
		if AdminCertificate(files) != string(certPEM) || !paired(pairIn(files, adminFolder)) || paired(pairIn(files, adminTLSFolder)) != tls {
			t.Errorf("the admin of %s has the files %v", directory, slices.Sorted(maps.Keys(files)))
		}
	}
	other := made.Definition
	other.RootCertificates = other.TLSRootCertificates
	for name, err := range map[string]error{
		"no key":            second(ReadAdmin(t.Context(), half, made.Definition)),
		"no directory":      second(ReadAdmin(t.Context(), filepath.Join(half, "none"), made.Definition)),
		"another's admin":   second(ReadAdmin(t.Context(), user, other)),
		"nothing of an MSP": second(ReadAdmin(t.Context(), t.TempDir(), made.Definition)),
	} {
		if err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
