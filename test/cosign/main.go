// Command cosign signs, where there is no cosign, what the example signed-chaincode releases: with a key that
// nobody keeps, in the formats that internal/signature reads.
//
//	go run ./test/cosign FOLDER CHANNEL NAME IMAGE TAG…
//
// It writes FOLDER/cosign.pub, and for each TAG FOLDER/TAG/package.sig, of the package with the label
// NAME_TAG, and FOLDER/TAG/image.json and image.sig, of IMAGE:TAG as the engine has it.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) < 5 {
		return errors.New("usage: cosign FOLDER CHANNEL NAME IMAGE TAG…")
	}
	folder, channel, name, image, tags := args[0], args[1], args[2], args[3], args[4:]
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	e, err := docker.New(docker.Options{Host: host})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	files := map[string][]byte{"cosign.pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	for _, tag := range tags {
		packed, _, err := network.ChaincodePackage(channel, name+"_"+tag, nil, false)
		if err != nil {
			return err
		}
		found, err := e.ResolveImage(ctx, image+":"+tag)
		if err != nil {
			return err
		}
		digest := found.ID
		if len(found.Digests) > 0 { // that of a registry, where cosign finds it
			digest = found.Digests[0]
		}
		payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, image, digest)
		files[tag+"/image.json"] = payload
		for file, content := range map[string][]byte{"/package.sig": packed, "/image.sig": payload} {
			if files[tag+file], err = sign(key, content); err != nil {
				return err
			}
		}
	}
	for file, content := range files {
		path := filepath.Join(folder, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sign gives what cosign sign-blob prints.
func sign(key *ecdsa.PrivateKey, content []byte) ([]byte, error) {
	sum := sha256.Sum256(content)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	return []byte(base64.StdEncoding.EncodeToString(signature)), err
}
