package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hyperledger/fabric-sdk-go/pkg/common/providers/core"
	"github.com/hyperledger/fabric-sdk-go/pkg/core/config"
	"go.yaml.in/yaml/v3"
)

// identity is a certificate with its key, both in PEM.
type identity struct{ name, certificate, key string }

// readIdentity reads an MSP folder as fabric_identity writes it.
func readIdentity(folder string) (identity, error) {
	certificate, err := os.ReadFile(filepath.Join(folder, "signcerts", "cert.pem"))
	if err != nil {
		return identity{}, fmt.Errorf("unable to read the identity: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(folder, "keystore", "key.pem"))
	if err != nil {
		return identity{}, fmt.Errorf("unable to read the identity: %w", err)
	}
	return identity{name: filepath.Base(folder), certificate: string(certificate), key: string(key)}, nil
}

// profile is a connection profile that applications complete with what is theirs.
type profile map[string]any

func readProfile(file string) (profile, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("unable to read the connection profile: %w", err)
	}
	var sections map[string]any
	if err := yaml.Unmarshal(content, &sections); err != nil {
		return nil, fmt.Errorf("unable to read the connection profile: %w", err)
	}
	p := profile(sections)
	if len(p) == 0 || p.organization() == "" || p.mspID() == "" {
		return nil, errors.New("unable to read the connection profile: it does not say which organization its client is of")
	}
	return p, nil
}

// at gives a section, made when it is not there.
func (p profile) at(path ...string) map[string]any {
	section := map[string]any(p)
	for _, name := range path {
		next, ok := section[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			section[name] = next
		}
		section = next
	}
	return section
}

func (p profile) text(path ...string) string {
	text, _ := p.at(path[:len(path)-1]...)[path[len(path)-1]].(string)
	return text
}

func (p profile) organization() string { return p.text("client", "organization") }
func (p profile) mspID() string        { return p.text("organizations", p.organization(), "mspid") }

// keepIn says where the SDK keeps the identities that it enrols.
func (p profile) keepIn(folder string) {
	p.at("client")["credentialStore"] = map[string]any{"path": folder, "cryptoStore": map[string]any{"path": folder}}
}

// registerAs names the identity by which the SDK's CA client registers others.
func (p profile) registerAs(registrar identity) error {
	p.at("organizations", p.organization(), "users")[registrar.name] = map[string]any{
		"cert": map[string]any{"pem": registrar.certificate}, "key": map[string]any{"pem": registrar.key},
	}
	authorities := p.at("certificateAuthorities")
	if len(authorities) == 0 {
		return errors.New("the connection profile names no CA")
	}
	for name := range authorities {
		p.at("certificateAuthorities", name)["registrar"] = map[string]any{"enrollId": registrar.name}
	}
	return nil
}

// config gives the profile to the SDK.
func (p profile) config() (core.ConfigProvider, error) {
	content, err := yaml.Marshal(map[string]any(p))
	if err != nil {
		return nil, err
	}
	return config.FromRaw(content, "yaml"), nil
}
