package nodeconfig

import (
	"bytes"
	"fmt"
	"net"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Validate finds what is wrong with an overlay as far as it can be said without
// knowing the node: everything except collisions with the node's own ports and
// settings for a state database that the node does not have. See [ValidatePeer]
// and [ValidateOrderer]. An unsupported version is a problem without a path.
func Validate(kind Kind, v Version, o Overlay) []Problem {
	settings := peerOpinions()
	if kind == KindOrderer {
		settings = ordererOpinions()
	}
	_, problems := build(kind, v, settings, o, nil)
	return problems
}

// build lays the layers on top of each other and examines the result. check is
// about the node and may be nil.
func build(kind Kind, v Version, settings tree, o Overlay, check func(*config)) (tree, []Problem) {
	r, err := releaseFor(v)
	if err != nil {
		return nil, []Problem{{Message: err.Error()}}
	}
	s := r.schema(kind)
	overlay := s.read(o)

	t := s.open()
	t.merge(settings)
	t.merge(overlay.tree)
	t.prune()

	c := &config{tree: t, set: overlay.set, problems: overlay.problems}
	if check != nil {
		check(c)
	}
	if kind == KindOrderer {
		ordererRules(c, v)
	} else {
		peerRules(c, v)
	}
	return t, sortProblems(c.problems)
}

func render(kind Kind, v Version, build func() (tree, []Problem)) ([]byte, error) {
	r, err := releaseFor(v)
	if err != nil {
		return nil, fmt.Errorf("unable to render %s: %w", kind.File(), err)
	}
	t, problems := build()
	if len(problems) > 0 {
		return nil, &InvalidError{Kind: kind, Problems: problems}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# %s, from the defaults of Hyperledger Fabric %s. Rendered by the Terraform provider: changes made here are lost.\n", kind.File(), r.version)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]any(t)); err != nil {
		return nil, fmt.Errorf("unable to encode %s: %w", kind.File(), err)
	}
	return out.Bytes(), nil
}

// softwareCrypto is the BCCSP section: keys are files in the MSP's keystore.
func softwareCrypto() map[string]any {
	return map[string]any{
		"Default": "SW",
		"SW":      map[string]any{"Hash": "SHA2", "Security": 256},
	}
}

func stringList(values []string) []any {
	out := make([]any, len(values))
	for i, value := range values {
		out[i] = value
	}
	return out
}

func hostPort(host string, port int64) string {
	return net.JoinHostPort(host, strconv.FormatInt(port, 10))
}
