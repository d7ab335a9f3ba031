package network

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// operationsPurpose is the purpose of the port of a node's operations endpoint, where it has one.
const operationsPurpose = "operations"

// publish gives the ports as wanted, in the order of their purposes.
func (n *node) publish() []engine.Port {
	var out []engine.Port
	for _, purpose := range slices.Sorted(maps.Keys(n.ports)) {
		out = append(out, engine.Port{Container: n.ports[purpose], Host: n.options.HostPorts[purpose], Address: n.options.BindAddress})
	}
	return out
}

// keepPorts gives ports that nobody chose the host ports that the node has already.
func keepPorts(wanted, have []engine.Port) []engine.Port {
	for i := range wanted {
		for _, h := range have {
			if wanted[i].Host == 0 && h.Container == wanted[i].Container {
				wanted[i].Host = h.Host
			}
		}
	}
	return wanted
}

// samePorts tells whether both publish the same, in whatever order.
func samePorts(a, b []engine.Port) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p engine.Port) bool { return !slices.Contains(b, p) })
}

func (n *node) hostPorts(published []engine.Port) map[string]int {
	out := map[string]int{}
	for purpose, port := range n.ports {
		for _, p := range published {
			if p.Container == port {
				out[purpose] = p.Host
			}
		}
	}
	return out
}

// spec renders the container, its hash included.
func (n *node) spec(imageID string, ports []engine.Port) engine.NodeSpec {
	labels := n.handle.labels()
	maps.Copy(labels, n.labels)
	maps.Copy(labels, n.options.Labels)
	labels[labelEndpoint], labels[labelInputs] = n.endpoint, n.inputs
	if n.options.Container != "" {
		return n.recordSpec(imageID, labels)
	}
	labels[labelConfig] = configLabel(n.config)
	spec := engine.NodeSpec{
		Name:       n.handle.Object(),
		Hostname:   n.handle.Host(),
		Aliases:    n.aliases,
		Image:      imageID,
		Network:    n.handle.Network,
		Entrypoint: n.entrypoint,
		Command:    n.command,
		Env:        n.env,
		Mounts:     []engine.Mount{{Volume: n.handle.Object(), Target: volumeRoot}},
		Tmpfs:      append([]string{"/tmp"}, n.tmpfs...),
		Ports:      ports,
		User:       fmt.Sprintf("%[1]d:%[1]d", n.user()),
		Limits:     n.options.Limits,
		Log:        n.options.Log,
		Labels:     labels,
		Restart:    true,
	}
	spec.Labels[engine.LabelSpecHash] = specHash(spec, n.config)
	return spec
}

func (n *node) user() int { return cmp.Or(n.uid, nodeUID) }

// labelConfig holds the digests of the files that a node was made with, as JSON by their paths below nodeRoot.
const labelConfig = engine.LabelPrefix + "config"

func configLabel(config map[string][]byte) string {
	digests := map[string]string{}
	for name, content := range config {
		digests[name] = hashOf(content)
	}
	raw, err := json.Marshal(digests)
	if err != nil { // it holds only text
		return ""
	}
	return string(raw)
}

// specHash is the SHA-256 of what makes a container what it is, in hexadecimal.
func specHash(spec engine.NodeSpec, config map[string][]byte) string {
	h := sha256.New()
	encoder := json.NewEncoder(h)
	// Neither encoding can fail: both hold only strings, numbers and bytes. Maps are sorted by key.
	_ = encoder.Encode(spec)
	_ = encoder.Encode(config)
	return hex.EncodeToString(h.Sum(nil))
}
