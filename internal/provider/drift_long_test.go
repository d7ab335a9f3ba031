package provider

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// drifting is a network that changes behind our back.
type drifting struct {
	t    *testing.T
	life life
}

func (d drifting) String() string {
	return twoPeers(d.life.String()) + `
resource "fabric_identity" "app" {
  organization = fabric_organization.org1.handle
  name         = "app"
}

resource "fabric_crl" "org1" {
  organization = fabric_organization.org1.handle
}
`
}

// object is the name of a container or a volume.
func (d drifting) object(name string) string { return d.life.name + "-" + name }

// TestLongDrift changes each thing that can change behind our back on a running network. The plan shows
// it where it is, and there alone, and one apply repairs it; no ledger gets shorter and no volume is
// replaced.
func TestLongDrift(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) { drift(t, version) })
	}
}

const (
	caDriftAddress  = "fabric_ca.org1"
	appAddress      = "fabric_identity.app"
	chaincodeServer = "chaincode server"
)

func drift(t *testing.T, version string) {
	d := drifting{t: t, life: life{name: networkName(t), version: version, nodes: "orderer0 = {}", cluster: fastRaft}}
	sweepNetwork(t, d.life.name)
	seen := &sightings{t: t, network: d.life.name}
	steps := []resource.TestStep{{Config: d.String(), Check: seen.check}}
	for _, change := range []struct {
		what    string
		behind  func()
		updated []string
	}{
		{"a node's container is paused", func() { d.pause("orderer0") }, []string{clusterAddress}},
		{"renamed", func() { d.rename("peer0.org1"); d.rename("orderer0"); d.rename("ca.org1") }, []string{peerAddress, clusterAddress, caDriftAddress}},
		{"given other limits", func() { d.limit("peer0.org1"); d.limit("ca.org1") }, []string{peerAddress, caDriftAddress}},
		{"given another restart policy", func() { d.restartNever("orderer0") }, []string{clusterAddress}},
		{"a node's configuration is edited", func() { d.edit("peer0.org1", "config/core.yaml"); d.edit("orderer0", "config/orderer.yaml") }, []string{peerAddress, clusterAddress}},
		{"a node's TLS certificate is another one's", func() { d.impose("peer0.org1", "keys/tls/") }, []string{peerAddress}},
		{"a node's enrolment certificate is another one's", func() { d.impose("peer0.org1", "keys/msp/signcerts/") }, []string{peerAddress}},
		{"a node's certificate is gone", func() { d.remove("peer0.org1", "keys/tls/cert.pem") }, []string{peerAddress}},
		{"the certificate of a CA's listener is another one's", func() { d.impose("ca.org1", "keys/ca/listener/") }, []string{caDriftAddress}},
		{"a chaincode server is stopped", func() { stopNode(t, d.server()) }, []string{kvAddress}},
		{"given other limits", func() { d.limit(chaincodeServer) }, []string{kvAddress}},
		{"taken off its network", func() { disconnect(t, d.life.name, d.server()) }, []string{kvAddress}},
		{"another client changes the channel's configuration", func() {
			running{name: d.life.name}.changeOutside(t, func(c *configtx.Channel) { c.Batch.Timeout = 7 * time.Second })
		}, []string{tradeAddress}},
		{"another client commits another definition", func() { contracts{name: d.life.name}.upgradeBehindOurBack(t) }, []string{kvAddress}},
		{"another client approves another package", d.approveAnother, []string{kvAddress}},
		{"a peer leaves the channel", d.unjoin, []string{tradeAddress}},
		{"an identity is registered with another type", func() { (&caServer{t: t, network: d.life.name, name: "ca.org1"}).promote("app") }, []string{appAddress}},
		{"an identity's key is gone", func() { d.eraseKey("app") }, []string{appAddress}},
	} {
		steps = append(steps, resource.TestStep{
			PreConfig:        func() { t.Log(change.what); change.behind() },
			Config:           d.String(),
			ConfigPlanChecks: onlyUpdated(change.updated...),
			Check:            func(state *terraform.State) error { return eventually(t, func() error { return seen.check(state) }) },
		})
	}
	steps = append(steps, resource.TestStep{ // The only consenter has no channel any more: nobody can repair that but from blocks that peers hold.
		PreConfig:   d.removeChannel,
		Config:      d.String(),
		PlanOnly:    true,
		ExpectError: says("The ordering nodes have lost the channel", "accept_data_loss"),
	})
	resource.Test(t, resource.TestCase{ProtoV6ProviderFactories: factories, CheckDestroy: nothingLeft(t, d.life.name), Steps: steps})
}

// server is the name of the container of the chaincode's server.
func (d drifting) server() string {
	for _, id := range serverIDs(d.t, d.life.name, "kv") {
		return strings.TrimPrefix(inspect(d.t, id).Name, "/")
	}
	d.t.Fatal("there is no server")
	return ""
}

func (d drifting) container(name string) string {
	if name == chaincodeServer {
		return d.server()
	}
	return d.object(name)
}

func (d drifting) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d drifting) pause(node string) {
	_, err := dockerClient(d.t).ContainerPause(d.t.Context(), d.object(node), client.ContainerPauseOptions{})
	d.must(err)
}

func (d drifting) rename(node string) {
	_, err := dockerClient(d.t).ContainerRename(d.t.Context(), d.object(node), client.ContainerRenameOptions{NewName: d.object(node) + "-old"})
	d.must(err)
}

func (d drifting) limit(node string) {
	_, err := dockerClient(d.t).ContainerUpdate(d.t.Context(), d.container(node), client.ContainerUpdateOptions{
		Resources: &container.Resources{Memory: 700 << 20, MemorySwap: 700 << 20},
	})
	d.must(err)
}

func (d drifting) restartNever(node string) {
	_, err := dockerClient(d.t).ContainerUpdate(d.t.Context(), d.object(node), client.ContainerUpdateOptions{RestartPolicy: &container.RestartPolicy{Name: "no"}})
	d.must(err)
}

// copyOver writes a file below the node's folder as docker cp does, for the node's user.
func (d drifting) copyOver(node, file string, content []byte) {
	d.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	d.must(w.WriteHeader(&tar.Header{Name: path.Base(file), Typeflag: tar.TypeReg, Mode: 0o600, Uid: 1000, Gid: 1000, Size: int64(len(content)), ModTime: time.Now()}))
	_, err := w.Write(content)
	d.must(errors.Join(err, w.Close()))
	_, err = dockerClient(d.t).CopyToContainer(d.t.Context(), d.object(node), client.CopyToContainerOptions{
		DestinationPath: "/var/hyperledger/node/" + path.Dir(file), Content: &archive,
	})
	d.must(err)
}

func (d drifting) edit(node, file string) {
	files, err := localEngine(d.t).GetFiles(d.t.Context(), d.object(node), "/var/hyperledger/node/"+file)
	d.must(err)
	d.copyOver(node, file, append(files[0].Content, "\n# edited by hand\n"...))
}

// impose puts the certificate of a stranger in the place of a node's own.
func (d drifting) impose(node, folder string) {
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "stranger", Organization: "stranger", Validity: time.Hour})
	d.must(err)
	d.copyOver(node, folder+"cert.pem", root.CertificatePEM())
}

// remove removes a file from a node's volume.
func (d drifting) remove(node, file string) {
	n, err := localEngine(d.t).Node(d.t.Context(), d.object(node))
	d.must(err)
	result, err := localEngine(d.t).RunOnce(d.t.Context(), engine.NodeSpec{
		Name: d.object("remover"), Image: n.ImageID, Entrypoint: []string{"rm", "/var/hyperledger/node/" + file}, User: "1000:1000",
		Mounts: []engine.Mount{{Volume: d.object(node), Target: "/var/hyperledger"}}, Labels: map[string]string{engine.LabelOwner: "drift"},
	})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("rm: %v", result.Output)
	}
	d.must(err)
}

// approveAnother has the organization approve the definition in force without a package.
func (d drifting) approveAnother() {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	h := handleOfNode(d.t, d.object("peer0.org1"))
	state, err := reads(d.t).ReadChaincode(ctx, network.ChaincodeHandle(h.With(network.KindChannel, "trade", ""), "kv"))
	d.must(err)
	admin, conn := connectAsAdmin(d.t, h, 7051)
	target := endorser.Peer{Name: h.Name, Conn: conn}
	transaction, err := lifecycle.Approve(ctx, admin, "trade", *state.Committed, "", target)
	d.must(err)
	_, orders := connectAsAdmin(d.t, handleOfNode(d.t, d.object("orderer0")), 7050)
	d.must(orderer.Broadcast(ctx, orders, transaction.Envelope))
	d.must(eventually(d.t, func() error {
		approved, err := lifecycle.QueryApproved(ctx, target, admin, "trade", "kv", state.Committed.Sequence)
		if err == nil && approved.PackageID != "" {
			err = errors.New("the approval is not on the ledger yet")
		}
		return err
	}))
}

// unjoin takes the channel from the peer as an operator does: with the peer stopped.
func (d drifting) unjoin() {
	ctx, name := d.t.Context(), d.object("peer0.org1")
	e := localEngine(d.t)
	n, err := e.Node(ctx, name)
	d.must(err)
	d.must(e.StopNode(ctx, name, 10*time.Second))
	result, err := e.RunOnce(ctx, engine.NodeSpec{
		Name: d.object("unjoin"), Image: n.ImageID, Entrypoint: []string{"peer", "node", "unjoin", "-c", "trade"}, User: "1000:1000",
		Env:    map[string]string{"FABRIC_CFG_PATH": "/var/hyperledger/node/config"},
		Mounts: []engine.Mount{{Volume: name, Target: "/var/hyperledger"}}, Tmpfs: []string{"/tmp"}, Labels: map[string]string{engine.LabelOwner: "drift"},
	})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("peer node unjoin: %v", result.Output)
	}
	d.must(err)
	d.must(e.StartNode(ctx, name))
	f, h := reads(d.t), handleOfNode(d.t, name)
	d.must(eventually(d.t, func() error {
		state, err := f.ReadPeer(ctx, h)
		if err == nil && state.Status != engine.Running {
			err = fmt.Errorf("the peer is %s", state.Status)
		}
		return err
	}))
}

// eraseKey takes the key of an identity out of its organization's key volume.
func (d drifting) eraseKey(identity string) {
	volume := keystore.OpenVolume(localEngine(d.t), d.object("Org1MSP-keys"))
	files, err := volume.Read(d.t.Context())
	d.must(err)
	for name := range files {
		if name == "identities/"+identity+"/key.pem" {
			d.must(volume.Erase(d.t.Context(), name))
			return
		}
	}
	d.t.Fatalf("identity %s has no key among %v", identity, slices.Sorted(maps.Keys(files)))
}

// removeChannel takes the channel from the ordering node, by its participation API.
func (d drifting) removeChannel() {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	keys := caVolume(d.t, d.object("ca.orderer-keys"))
	root, err := certificate.ParseKeyPair(keys["operations/cert.pem"], keys["operations/key.pem"])
	d.must(err)
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	d.must(err)
	cert, err := certificate.Issue(root, certificate.LeafRequest{CommonName: "test", Client: true, Validity: time.Hour, PublicKey: key.Public()})
	d.must(err)
	roots := x509.NewCertPool()
	roots.AddCert(root.Certificate)
	h := handleOfNode(d.t, d.object("orderer0"))
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return localEngine(d.t).Dial(ctx, h.Object(), 7053)
		},
		TLSClientConfig: &tls.Config{
			RootCAs: roots, ServerName: h.Host(), MinVersion: tls.VersionTLS12,
			Certificates: []tls.Certificate{(&certificate.KeyPair{Certificate: cert, Key: key}).TLS()},
		},
	}
	defer transport.CloseIdleConnections()
	admin := &participation.Client{BaseURL: "https://" + h.Host() + ":7053", HTTP: &http.Client{Transport: transport}}
	d.must(admin.Remove(ctx, "trade"))
	d.must(admin.AwaitRemoved(ctx, "trade"))
}
