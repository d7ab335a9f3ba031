//go:build fabric

package nodeconfig

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"
)

// These tests start real nodes with rendered files, on the local Docker engine:
//
//	go test -tags fabric -run TestRealNode ./internal/fabric/nodeconfig
//
// A node has only its identity, its TLS files and the rendered file, and no
// setting from its environment.

const (
	nodeName = "node.example.com"
	nodeHome = "/srv/node" // outside the volumes of the images
	nodeData = "/var/hyperledger/production"
)

func TestRealNodeStarts(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "docker", "version").CombinedOutput(); err != nil {
		t.Skipf("no Docker engine: %s", out)
	}
	for _, version := range []string{"2.5.9", "3.1.1"} {
		v := mustVersion(t, version)
		t.Run("peer/"+version, func(t *testing.T) { realPeer(t, v) })
		t.Run("orderer/"+version, func(t *testing.T) { realOrderer(t, v) })
	}
}

func realPeer(t *testing.T, v Version) {
	p := testPeer()
	p.ID, p.MSPDir, p.DataDir = nodeName, nodeHome+"/msp", nodeData
	p.Address, p.ExternalEndpoint, p.GossipBootstrap = nodeName+":7051", nodeName+":7051", []string{nodeName + ":7051"}
	p.ChaincodeAddress = nodeName + ":7052"
	p.TLS = ServerTLS{CertFile: nodeHome + "/tls.crt", KeyFile: nodeHome + "/tls.key", RootFiles: []string{nodeHome + "/tlsca.crt"}}
	p.Operations = Endpoint{ListenAddress: "0.0.0.0:9443", CertFile: nodeHome + "/private.crt", KeyFile: nodeHome + "/private.key", ClientRootFiles: []string{nodeHome + "/privateca.crt"}}
	file, err := RenderPeer(v, p, Overlay{
		"peer":   map[string]any{"gossip": map[string]any{"useLeaderElection": true, "orgLeader": false, "state": map[string]any{"enabled": true, "channelSize": 7}}},
		"ledger": map[string]any{"pvtdataStore": map[string]any{"purgeInterval": 77}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "not-for-the-log"
	n := startNode(t, v, KindPeer, file, "CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD="+secret)

	n.get(t, 9443, "/healthz", n.client, 200)
	n.get(t, 9443, "/metrics", n.client, 200)
	n.refusesStrangers(t, 9443)
	n.serves(t, 7051)
	n.serves(t, 7052)
	log := n.log(t)
	for _, want := range []string{
		"Peer config with combined core.yaml settings", "channelsize: 7", "purgeinterval: 77", "reconnectbackoffthreshold: 15s",
		"Starting peer with TLS enabled", "Starting peer with Gateway enabled", "Deployed system chaincodes", "Started peer with ID=[" + nodeName + "]",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log of the peer has no %q", want)
		}
	}
	for _, bad := range []string{secret, "isn't set", "is not set", "not set; defaulting", "invalid log level", "PANIC", "panic:", "Unknown provider"} {
		if strings.Contains(log, bad) {
			t.Errorf("the log of the peer has %q", bad)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

func realOrderer(t *testing.T, v Version) {
	private := func(port string) Endpoint {
		return Endpoint{ListenAddress: "0.0.0.0:" + port, CertFile: nodeHome + "/private.crt", KeyFile: nodeHome + "/private.key", ClientRootFiles: []string{nodeHome + "/privateca.crt"}}
	}
	o := Orderer{
		MSPID: "Org1MSP", MSPDir: nodeHome + "/msp", ListenAddress: "0.0.0.0:7050",
		TLS:     ServerTLS{CertFile: nodeHome + "/tls.crt", KeyFile: nodeHome + "/tls.key", RootFiles: []string{nodeHome + "/tlsca.crt"}},
		Cluster: Cluster{ClientCertFile: nodeHome + "/tls.crt", ClientKeyFile: nodeHome + "/tls.key", RootFiles: []string{nodeHome + "/tlsca.crt"}},
		Admin:   private("7053"), Operations: private("9443"),
		LedgerDir: nodeData + "/orderer", WALDir: nodeData + "/orderer/etcdraft/wal", SnapDir: nodeData + "/orderer/etcdraft/snapshot",
	}
	// An orderer refuses keys that it does not know: this sets every key that
	// an overlay may set, to its default where it has one.
	overlay := tree{}
	r, err := releaseFor(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range r.orderer.leaves {
		k := r.orderer.find(path)
		if value, ok := everyKey(r.orderer, k); ok && len(r.orderer.read(nest(path, value)).problems) == 0 {
			overlay.put(path, value)
		}
	}
	overlay.merge(nestAll(map[string]any{"General.Profile.Enabled": true, "Metrics": nil, "General.Cluster.TLSHandshakeTimeShift": nil}))
	file, err := RenderOrderer(v, o, Overlay(overlay))
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, v, KindOrderer, file)

	n.get(t, 9443, "/healthz", n.client, 200)
	n.get(t, 9443, "/metrics", n.client, 200)
	if channels := n.get(t, 7053, "/participation/v1/channels", n.client, 200); !strings.Contains(channels, `"channels":null`) {
		t.Errorf("channels: %s", channels)
	}
	n.refusesStrangers(t, 9443)
	n.refusesStrangers(t, 7053)
	n.serves(t, 7050)
	log := n.log(t)
	for _, want := range []string{
		"Orderer config values:", "General.ListenPort = 7050", "General.Cluster.RPCTimeout = 7s", `General.BootstrapMethod = "none"`, `General.LocalMSPID = "Org1MSP"`,
		"General.Authentication.NoExpirationChecks = false", "ChannelParticipation.MaxRequestBodySize = 1048576", "Beginning to serve requests",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log of the orderer has no %q", want)
		}
	}
	for _, bad := range []string{"PANI", "panic:", "unset, setting to"} {
		if strings.Contains(strings.ReplaceAll(log, "Kafka.Version unset, setting to", ""), bad) {
			t.Errorf("the log of the orderer has %q", bad)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", file, log)
	}
}

// everyKey is a valid value for a key: its default, or one of its type.
func everyKey(s *schema, k *key) (any, bool) {
	if value, ok := tree(s.defaults).at(k.path); ok {
		return value, true
	}
	switch k.typ {
	case typeDuration:
		return "7s", true
	case typeInt:
		return 20971520, true
	case typeBool:
		return false, true
	case typeString:
		if len(k.oneOf) > 0 {
			return k.oneOf[0], true
		}
		return "/tmp", true
	}
	return nil, false
}

type node struct {
	container, ip  string
	roots          *x509.CertPool // of the endpoints of the provider's own
	client, nobody *tls.Certificate
}

// startNode runs a node until it serves. Its ports accept connections before
// that.
func startNode(t *testing.T, v Version, kind Kind, file []byte, env ...string) *node {
	t.Helper()
	enrolment, tlsCA, privateCA := newAuthority(t, "ca"), newAuthority(t, "tlsca"), newAuthority(t, "private")
	id, idKey := enrolment.issue(t, string(kind))
	server, serverKey := tlsCA.issue(t, string(kind))
	private, privateKey := privateCA.issue(t, "")
	_, clientPair := privateCA.pair(t)
	_, strangerPair := tlsCA.pair(t)

	n := &node{roots: x509.NewCertPool(), client: clientPair, nobody: strangerPair}
	n.roots.AppendCertsFromPEM(privateCA.pem)

	ous := "NodeOUs:\n  Enable: true\n"
	for _, ou := range []string{"Client", "Peer", "Admin", "Orderer"} {
		ous += fmt.Sprintf("  %sOUIdentifier: {OrganizationalUnitIdentifier: %s}\n", ou, strings.ToLower(ou))
	}
	files := map[string][]byte{
		kind.File():            file,
		"msp/config.yaml":      []byte(ous),
		"msp/cacerts/ca.pem":   enrolment.pem,
		"msp/tlscacerts/t.pem": tlsCA.pem,
		"msp/signcerts/c.pem":  id,
		"msp/keystore/key.pem": idKey,
		"tls.crt":              server, "tls.key": serverKey, "tlsca.crt": tlsCA.pem,
		"private.crt": private, "private.key": privateKey, "privateca.crt": privateCA.pem,
	}

	image := fmt.Sprintf("hyperledger/fabric-%s:%s", kind, v)
	if out, err := exec.CommandContext(t.Context(), "docker", "image", "inspect", image).CombinedOutput(); err != nil {
		t.Skipf("no image %s: %s", image, out)
	}
	n.container = "nodeconfig-test-" + randomName(t)
	args := []string{
		"create", "--name", n.container, "--hostname", nodeName, "--user", "1000:1000", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--env", "FABRIC_CFG_PATH=" + nodeHome,
	}
	for _, e := range env {
		args = append(args, "--env", e)
	}
	docker(t, nil, append(args, image)...)
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "rm", "--force", "--volumes", n.container).CombinedOutput(); err != nil {
			t.Errorf("unable to remove %s: %s", n.container, out)
		}
	})
	docker(t, archive(t, files), "cp", "-", n.container+":/")
	docker(t, nil, "start", n.container)
	n.ip = strings.TrimSpace(docker(t, nil, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", n.container))

	serving := map[Kind]string{KindPeer: "Started peer with ID", KindOrderer: "Beginning to serve requests"}[kind]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, status, err := n.request(ctx, 9443, "/healthz", n.client); err == nil && status == 200 && strings.Contains(n.log(t), serving) {
			return n
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the node does not answer:\n%s", n.log(t))
		case <-tick.C:
		}
	}
}

func (n *node) log(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("docker", "logs", n.container).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// serves checks that a gRPC listener speaks TLS.
func (n *node) serves(t *testing.T, port int) {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}} // the peer's chaincode listener has a root of its own
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(n.ip, int64(port)))
	if err != nil {
		t.Errorf("port %d: %v", port, err)
		return
	}
	_ = conn.Close()
}

func (n *node) request(ctx context.Context, port int, path string, client *tls.Certificate) (string, int, error) {
	config := &tls.Config{RootCAs: n.roots, ServerName: nodeName}
	if client != nil {
		config.Certificates = []tls.Certificate{*client}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+hostPort(n.ip, int64(port))+path, nil)
	if err != nil {
		return "", 0, err
	}
	res, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return "", 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), res.StatusCode, err
}

func (n *node) get(t *testing.T, port int, path string, client *tls.Certificate, status int) string {
	t.Helper()
	body, got, err := n.request(t.Context(), port, path, client)
	if err != nil || got != status {
		t.Errorf("%d%s: %d %v", port, path, got, err)
	}
	return body
}

// refusesStrangers: neither no certificate nor one of the organization's TLS
// root gets in.
func (n *node) refusesStrangers(t *testing.T, port int) {
	t.Helper()
	for name, client := range map[string]*tls.Certificate{"nobody": nil, "a TLS certificate of the organization": n.nobody} {
		if _, status, err := n.request(t.Context(), port, "/healthz", client); err == nil {
			t.Errorf("port %d answers %s with %d", port, name, status)
		}
	}
}

func docker(t *testing.T, stdin []byte, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v: %s", args[0], err, out)
	}
	return string(out)
}

// archive puts the files below nodeHome, owned by the user of the images.
func archive(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		header := tar.Header{Name: path.Join(nodeHome, name)[1:], Mode: 0o600, Size: int64(len(content)), Uid: 1000, Gid: 1000}
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte(randomName(t)),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) issue(t *testing.T, ou string) (cert, key []byte) {
	t.Helper()
	private := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: nodeName}, DNSNames: []string{nodeName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ou != "" {
		template.Subject.OrganizationalUnit = []string{ou}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (a *authority) pair(t *testing.T) ([]byte, *tls.Certificate) {
	t.Helper()
	cert, key := a.issue(t, "")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, &pair
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func randomName(t *testing.T) string {
	t.Helper()
	raw := make([]byte, 6)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(raw)
}
