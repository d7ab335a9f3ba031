package nodeconfig

import (
	"embed"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Kind is a kind of node.
type Kind string

// The kinds of nodes that have a configuration file.
const (
	KindPeer    Kind = "peer"
	KindOrderer Kind = "orderer"
)

// File is the name that Fabric looks for in FABRIC_CFG_PATH: "core.yaml" or
// "orderer.yaml".
func (k Kind) File() string {
	if k == KindOrderer {
		return "orderer.yaml"
	}
	return "core.yaml"
}

//go:embed defaults/*.yaml
var defaultsFS embed.FS

// release is a Fabric release whose defaults are embedded.
type release struct {
	version Version
	serves  string // the versions that are rendered from it, in words
	peer    *schema
	orderer *schema
}

func (r release) schema(kind Kind) *schema {
	if kind == KindOrderer {
		return r.orderer
	}
	return r.peer
}

// releases are in ascending order, one for each major version. The samples of
// 2.5.0 and 2.5.9 are identical, and so are those of 3.1.0 and 3.1.1. An orderer
// of 3.0 knows every key of 3.1's orderer.yaml; a peer of 3.0 passes over
// chaincode.runtimeParams, which came with 3.1.0.
var releases = sync.OnceValue(func() []release {
	return []release{
		loadRelease("2.5.9", "2.5 and later 2.x"),
		loadRelease("3.1.1", "3.x"),
	}
})

func loadRelease(text, serves string) release {
	version, err := ParseVersion(text)
	if err != nil {
		damaged(text, err)
	}
	return release{
		version: version,
		serves:  serves,
		peer:    newSchema(KindPeer, version, loadDefaults("core-"+text), coreKeys),
		orderer: newSchema(KindOrderer, version, loadDefaults("orderer-"+text), ordererKeys),
	}
}

func loadDefaults(name string) map[string]any {
	raw, err := defaultsFS.ReadFile("defaults/" + name + ".yaml")
	if err != nil {
		damaged(name, err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		damaged(name, err)
	}
	return tree
}

// damaged ends the program: what is embedded in it cannot be read.
func damaged(what string, err error) {
	panic(fmt.Sprintf("nodeconfig: defaults of %s: %v", what, err)) //nolint:forbidigo // a defect of the build, of no input
}

// releaseFor is the release whose defaults serve a version.
func releaseFor(v Version) (release, error) {
	oldest := releases()[0].version
	if v.major > oldest.major || v.major == oldest.major && v.minor >= oldest.minor {
		for _, r := range releases() {
			if r.version.major == v.major {
				return r, nil
			}
		}
	}
	var supported []string
	for _, r := range releases() {
		supported = append(supported, fmt.Sprintf("%s (with the defaults of %s)", r.serves, r.version))
	}
	return release{}, fmt.Errorf("%w %q: supported are %s", ErrUnsupportedVersion, v.text, strings.Join(supported, " and "))
}
