package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// TestLongChaincodeMutualTLS: peers and servers that know nobody else, through a release, the loss of a
// server with its keys, another image, the restart of a peer, and back to no TLS.
func TestLongChaincodeMutualTLS(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) { testMutualTLS(t, version) })
	}
}

func testMutualTLS(t *testing.T, version string) {
	c := contracts{name: networkName(t), version: version}
	w := &watcher{t: t, name: c.name}
	with := func(label, image string, mutual bool) string {
		changed := c
		changed.kv = fmt.Sprintf("version = %q\n  server = { image = \"fabricops/kv-chaincode:%s\", mutual_tls = %t }\n  label = %q\n  %s\n", "1.0", image, mutual, label, bothSign)
		return changed.String()
	}
	guarded := func(image string) resource.TestCheckFunc {
		return resource.ComposeTestCheckFunc(c.answers(t, image, "version"), c.strangersStayOut(t), noSecretIn("PRIVATE KEY"))
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{
				Config:            with("kv_tls", "1.0", true),
				ConfigStateChecks: append(sequence(1, "kv_tls"), statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("renewal_at"), knownvalue.NotNull())),
				Check:             resource.ComposeTestCheckFunc(w.look, guarded("1.0"), c.plainPackage(t)),
			},
			{ // A server that is gone with its keys comes back with others, which its peer is told.
				PreConfig: func() {
					name := serverNames(t, c.name)[0]
					owner := inspect(t, name).Config.Labels[engine.LabelOwner]
					if err := errors.Join(localEngine(t).RemoveNode(t.Context(), name, owner), localEngine(t).RemoveVolume(t.Context(), name, owner)); err != nil {
						t.Fatal(err)
					}
				},
				Config: with("kv_tls", "1.0", true), ConfigStateChecks: sequence(1, "kv_tls"), Check: guarded("1.0"),
			},
			{ // Another image, and with it other certificates: no other definition.
				Config: with("kv_tls", "2.0", true), ConfigStateChecks: sequence(1, "kv_tls"), Check: resource.ComposeTestCheckFunc(w.kept(false), guarded("2.0")),
			},
			{ // A peer that starts again reads what it was told.
				PreConfig: func() {
					stopNode(t, c.name+"-peer0.org1")
					if err := localEngine(t).StartNode(t.Context(), c.name+"-peer0.org1"); err != nil {
						t.Fatal(err)
					}
				},
				Config: with("kv_tls", "2.0", true),
				Check: func(state *terraform.State) error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					return soon(ctx, func() error { return guarded("2.0")(state) })
				},
			},
			{ // One server of each organization, which its peers reach by the same names.
				Config:            strings.Replace(with("kv_tls", "2.0", true), "mutual_tls = true", `mutual_tls = true, per = "organization"`, 1),
				ConfigStateChecks: sequence(1, "kv_tls"), Check: resource.ComposeTestCheckFunc(c.servedBy(t, "peer0.org1", "peer0.org2"), guarded("2.0")),
			},
			{ // The package says whether there is TLS: without is an upgrade.
				Config: with("kv_plain", "2.0", false), Check: c.answers(t, "2.0", "version"),
				ConfigStateChecks: append(sequence(2, "kv_plain"), statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("renewal_at"), knownvalue.Null())),
			},
		},
	})
}

// strangersStayOut expects of every server that it answers TLS only, and only to who shows the
// certificate of its peer.
func (c contracts) strangersStayOut(t *testing.T) resource.TestCheckFunc {
	return func(*terraform.State) error {
		names := serverNames(t, c.name)
		if len(names) != 2 {
			return fmt.Errorf("the servers are %v", names)
		}
		var pairs []tls.Certificate
		for _, name := range names {
			pair, err := tls.X509KeyPair(nodeFile(t, name, "peer/cert.pem"), nodeFile(t, name, "peer/key.pem"))
			if err != nil {
				return err
			}
			pairs = append(pairs, pair)
		}
		for i, name := range names {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(nodeFile(t, name, "tls/root.pem"))
			address := net.JoinHostPort(containerAddress(t, name), "9999")
			for who, try := range map[string]struct {
				shows  []tls.Certificate
				enters bool
			}{
				"its peer": {pairs[i : i+1], true}, "nobody": {nil, false}, "the other peer": {pairs[1-i : 2-i], false},
			} {
				err := speaks(t.Context(), address, &tls.Config{RootCAs: roots, ServerName: strings.TrimPrefix(name, c.name+"-") + ".example.com", Certificates: try.shows, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
				if (err == nil) != try.enters {
					return fmt.Errorf("%s at %s: %w", who, name, errors.Join(err, fmt.Errorf("want it let in %t", try.enters)))
				}
			}
		}
		return nil
	}
}

// speaks fails unless a server lets a client in: with TLS 1.3 that shows when it sends its first frame.
func speaks(ctx context.Context, address string, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 9))
	return err
}

// plainPackage expects that no key is in what a peer has installed, but where its builder's output is.
func (c contracts) plainPackage(t *testing.T) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, peer := range []string{"peer0.org1", "peer0.org2"} {
			files, err := localEngine(t).GetFiles(t.Context(), c.name+"-"+peer, "/var/hyperledger/node/data")
			if err != nil {
				return err
			}
			with := 0
			for _, file := range files {
				if !strings.Contains(string(file.Content), "PRIVATE KEY") {
					continue
				}
				with++
				connection := map[string]any{}
				if err := json.Unmarshal(file.Content, &connection); err != nil || !strings.HasSuffix(file.Name, "release/chaincode/server/connection.json") {
					return fmt.Errorf("%s of %s holds a private key", file.Name, peer)
				}
				if file.Mode&0o077 != 0 {
					return fmt.Errorf("%s of %s has mode %o", file.Name, peer, file.Mode)
				}
			}
			if with != 1 {
				return fmt.Errorf("%d files of %s hold the key to its server", with, peer)
			}
		}
		return nil
	}
}

// nodeFile reads a file of a node below the folder that is ours.
func nodeFile(t *testing.T, node, name string) []byte {
	t.Helper()
	files, err := localEngine(t).GetFiles(t.Context(), node, "/var/hyperledger/node/"+name)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s of %s: %v", name, node, errors.Join(err, fmt.Errorf("%d files", len(files))))
	}
	return files[0].Content
}

// containerAddress is where a container is on its network.
func containerAddress(t *testing.T, name string) string {
	t.Helper()
	for _, n := range inspect(t, name).NetworkSettings.Networks {
		return n.IPAddress.String()
	}
	t.Fatalf("%s is on no network", name)
	return ""
}
