package network

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// Adoption: a container that somebody else made becomes a node of a network, and goes on as it is. The
// engine cannot add labels to it, so a record of ours stands for it: a container that is never started,
// under the name that the node would have if it were ours, with the labels by which it is found; and a
// volume for what we have to remember of it. What only we know of our own nodes by having rendered it,
// we read from the adopted one's environment.

// adoption is what is remembered of an adopted node, on the volume of its record.
type adoption struct {
	// Container is the name of the container that somebody else made.
	Container string `json:"container"`
	// Endpoint is the address by which others reach the node.
	Endpoint string `json:"endpoint"`
	// Ports say for each of our ports where the node listens; those that cannot be reached are left out.
	Ports map[int]int `json:"ports"`
	// Plain are those of our ports that are spoken to without TLS.
	Plain []int `json:"plain,omitempty"`
	// Certificates are the files, or the folders of one file, of the node's certificates in the
	// container, by their names below keysFolder on a node of ours.
	Certificates map[string]string `json:"certificates"`
}

const adoptionFile = "adoption.json"

// adoption reads what is remembered of an adopted node; nil when it is one of ours.
func (f *Fabric) adoption(ctx context.Context, h Handle) (*adoption, error) {
	fail := func(err error) (*adoption, error) {
		return nil, fmt.Errorf("unable to read the adoption of %s: %w", h, err)
	}
	volume, err := f.engine.Volume(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) || err == nil && volume.Labels[engine.LabelAdopts] == "" {
		return nil, nil
	}
	if err != nil {
		return fail(err)
	}
	a := &adoption{Container: volume.Labels[engine.LabelAdopts]}
	files, err := f.engine.GetFiles(ctx, h.Object(), nodeRoot+"/"+adoptionFile)
	if errors.Is(err, engine.ErrNotFound) || err == nil && len(files) != 1 { // its container went, or never came
		return a, nil
	}
	if err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(files[0].Content, a); err != nil {
		return fail(err)
	}
	return a, nil
}

// GoneError tells that the container is gone that an adopted node runs in. Only who made it knows how to
// make it again.
type GoneError struct {
	Node      Handle
	Container string
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("container %s of %s is gone, which this provider did not make; next: start it with what made it (docker compose up, for example), on the volumes that it had, and apply again", e.Container, e.Node)
}

// AdoptPeer takes a container that runs a peer as the peer of that name. Nothing of the container
// changes. The organization must be there.
func (f *Fabric) AdoptPeer(ctx context.Context, network, name, container string) error {
	found, err := f.examine(ctx, KindPeer, network, name, container)
	if err != nil {
		return err
	}
	n, err := f.peerNode(PeerSpec{Handle: found.handle, NodeOptions: found.options, Version: found.version})
	if err != nil {
		return err
	}
	return f.recordAdopted(ctx, n, found)
}

// AdoptOrderers takes containers that run ordering nodes, by the names that the nodes get, as a cluster.
func (f *Fabric) AdoptOrderers(ctx context.Context, network, cluster string, containers map[string]string) error {
	spec := ClusterSpec{Nodes: map[string]OrdererSpec{}}
	all := map[string]*examined{}
	for _, name := range slices.Sorted(maps.Keys(containers)) {
		found, err := f.examine(ctx, KindOrderer, network, name, containers[name])
		if err != nil {
			return err
		}
		all[name] = found
		if len(spec.Nodes) == 0 { // single nodes may be of other organizations
			spec.Handle = found.handle.With(KindOrdererCluster, cluster, found.handle.MSPID)
		}
		spec.Nodes[name] = OrdererSpec{Handle: found.handle, NodeOptions: found.options, Version: found.version, Cluster: cluster}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n, err := f.clusterNode(spec, name)
		if err != nil {
			return err
		}
		if err := f.recordAdopted(ctx, n, all[name]); err != nil {
			return err
		}
	}
	views, err := f.survey(ctx, spec.handles())
	if err != nil {
		return err
	}
	record := clusterRecord{MSPID: spec.Handle.MSPID}
	record.Raft = configtx.DefaultRaftOptions()
	for _, c := range views { // a cluster agrees on all of its channels in one way
		if c.summary != nil {
			record.Ordering = Ordering{Consensus: c.summary.ConsensusType, Raft: c.summary.Raft, BFT: c.summary.BFT}
		}
	}
	return f.recordCluster(ctx, spec.handles(), record)
}

// examined is what a container says of the node in it.
type examined struct {
	handle  Handle
	options NodeOptions
	version nodeconfig.Version
	imageID string
	adoption
}

// The variables by which the images of Fabric are configured.
type nodeEnv struct {
	mspID, mspDir, tls, tlsFile, operations, operationsTLS string
}

var nodeEnvs = map[Kind]nodeEnv{
	KindPeer: {
		mspID: "CORE_PEER_LOCALMSPID", mspDir: "CORE_PEER_MSPCONFIGPATH", tls: "CORE_PEER_TLS_ENABLED", tlsFile: "CORE_PEER_TLS_CERT_FILE",
		operations: "CORE_OPERATIONS_LISTENADDRESS", operationsTLS: "CORE_OPERATIONS_TLS_ENABLED",
	},
	KindOrderer: {
		mspID: "ORDERER_GENERAL_LOCALMSPID", mspDir: "ORDERER_GENERAL_LOCALMSPDIR", tls: "ORDERER_GENERAL_TLS_ENABLED", tlsFile: "ORDERER_GENERAL_TLS_CERTIFICATE",
		operations: "ORDERER_OPERATIONS_LISTENADDRESS", operationsTLS: "ORDERER_OPERATIONS_TLS_ENABLED",
	},
}

// examine reads what a container says of the node in it, and refuses what could not be managed.
func (f *Fabric) examine(ctx context.Context, kind Kind, network, name, container string) (*examined, error) {
	fail := func(format string, args ...any) (*examined, error) {
		return nil, fmt.Errorf("unable to adopt container %s as %s %s: %w", container, kind, name, fmt.Errorf(format, args...))
	}
	settings, err := f.engine.Settings(ctx, container)
	if errors.Is(err, engine.ErrNotFound) {
		return fail("there is none of that name on the engine")
	}
	if err != nil {
		return nil, err
	}
	env, by := settings.Env, nodeEnvs[kind]
	if env[by.mspID] == "" {
		return fail("%s is not set in it; only what is configured by environment variables, as Fabric's samples are, can be adopted", by.mspID)
	}
	org, err := f.findOrganization(ctx, network, env[by.mspID])
	if errors.Is(err, ErrNotFound) {
		return fail("it is of %s, and there is no such organization on network %s yet; next: apply a fabric_organization of it, with its certificates and admin_directory", env[by.mspID], network)
	}
	if err != nil {
		return nil, err
	}
	found := &examined{handle: org.With(kind, name, org.MSPID), imageID: settings.ImageID}
	found.options = NodeOptions{Container: container, Image: settings.Image, BindAddress: "127.0.0.1", Limits: settings.Limits}
	if err := f.requireAdoptable(ctx, found.handle, container); err != nil {
		return fail("%w", err)
	}
	if !strings.EqualFold(env[by.tls], "true") {
		return fail("it speaks without TLS (%s is not true)", by.tls)
	}
	if found.version, err = releaseOfImage(settings.Image); err != nil {
		return fail("%w", err)
	}
	found.adoption = adoption{Container: container, Ports: map[int]int{}, Certificates: map[string]string{
		tlsFile: inFolder(env, env[by.tlsFile]), enrollmentFile: inFolder(env, env[by.mspDir]) + "/signcerts",
	}}
	if err := found.takePorts(kind, env); err != nil {
		return fail("%w", err)
	}
	tlsPEM, err := f.adoptedFile(ctx, &found.adoption, tlsFile)
	if err != nil {
		return fail("%w", err)
	}
	cert, err := certificate.ParseOne(firstBlock(tlsPEM))
	if err != nil {
		return fail("its TLS certificate cannot be read: %w", err)
	}
	if err := cert.VerifyHostname(found.handle.Host()); err != nil {
		return fail("its TLS certificate is not for %s; next: choose the node's name and the domain of the fabric_network so that both together are a name in it: %s", found.handle.Host(), strings.Join(cert.DNSNames, ", "))
	}
	return found, nil
}

// requireAdoptable fails for a container of ours, for one that is not on the network, and for one that
// is adopted as another node already.
func (f *Fabric) requireAdoptable(ctx context.Context, h Handle, container string) error {
	current, err := f.engine.Node(ctx, container)
	if err != nil {
		return err
	}
	if current.Labels[engine.LabelOwner] != "" {
		return fmt.Errorf("this provider made it, as %s: import it by NETWORK/NAME alone", handleOf(current.Labels))
	}
	net, err := f.engine.Network(ctx, h.Network)
	if err != nil {
		return err
	}
	if !slices.Contains(current.NetworkIDs, net.ID) {
		return fmt.Errorf("it is not on network %s", h.Network)
	}
	records, err := f.engine.Nodes(ctx, map[string]string{engine.LabelAdopts: container})
	for _, r := range records {
		if other := handleOf(r.Labels); other != h {
			return fmt.Errorf("it is adopted already, as %s of network %s", other, other.Network)
		}
	}
	return err
}

// releaseOfImage reads the release of Fabric from the tag of an image.
func releaseOfImage(reference string) (nodeconfig.Version, error) {
	_, tag, _ := strings.Cut(path.Base(reference), ":")
	tag, _, _ = strings.Cut(tag, "@")
	version, err := nodeconfig.ParseVersion(tag)
	if err != nil {
		return version, fmt.Errorf("the tag of its image %s names no release of Fabric, such as 2.5.9: %w", reference, err)
	}
	return version, nil
}

// inFolder gives a path as the node finds it: relative ones are below its configuration.
func inFolder(env map[string]string, file string) string {
	if file == "" {
		file = "msp"
	}
	if path.IsAbs(file) {
		return path.Clean(file)
	}
	return path.Join(configOf(env), file)
}

// configOf is the folder of a node's configuration.
func configOf(env map[string]string) string {
	return path.Clean(cmp.Or(env["FABRIC_CFG_PATH"], "/etc/hyperledger/fabric"))
}

// takePorts reads where the node listens, and by which address others know it.
func (e *examined) takePorts(kind Kind, env map[string]string) error {
	by := nodeEnvs[kind]
	listens, advertised := portIn(env["CORE_PEER_LISTENADDRESS"], peerPort), env["CORE_PEER_GOSSIP_EXTERNALENDPOINT"]
	ours, operations := peerPort, peerOperationsPort
	if kind == KindOrderer {
		listens, ours, operations = portIn(":"+env["ORDERER_GENERAL_LISTENPORT"], ordererPort), ordererPort, ordererOperationsPort
		advertised = net.JoinHostPort(e.handle.Host(), strconv.Itoa(listens))
		admin := env["ORDERER_ADMIN_LISTENADDRESS"]
		if !reachable(admin) || !strings.EqualFold(env["ORDERER_CHANNELPARTICIPATION_ENABLED"], "true") {
			return errors.New("its admin endpoint cannot be reached: ORDERER_CHANNELPARTICIPATION_ENABLED must be true, and ORDERER_ADMIN_LISTENADDRESS an address that others can reach")
		}
		e.Ports[ordererAdminPort] = portIn(admin, ordererAdminPort)
		if !strings.EqualFold(env["ORDERER_ADMIN_TLS_ENABLED"], "true") {
			e.Plain = append(e.Plain, ordererAdminPort)
		}
	} else if advertised == "" {
		advertised = env["CORE_PEER_ADDRESS"]
	}
	e.Ports[ours] = listens
	if advertised != "" && advertised != (NodeOptions{}).Endpoint(e.handle, ours) {
		e.options.AdvertisedAddress = advertised
	}
	if address := env[by.operations]; reachable(address) {
		e.Ports[operations] = portIn(address, operations)
		if !strings.EqualFold(env[by.operationsTLS], "true") {
			e.Plain = append(e.Plain, operations)
		}
	}
	return nil
}

// portIn reads the port of a listen address.
func portIn(address string, fallback int) int {
	_, text, err := net.SplitHostPort(address)
	port, bad := strconv.Atoi(text)
	if err != nil || bad != nil || port == 0 {
		return fallback
	}
	return port
}

// reachable tells whether others than the node itself reach what it listens on.
func reachable(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// adoptedFile reads a certificate of an adopted node, by its name on a node of ours.
func (f *Fabric) adoptedFile(ctx context.Context, a *adoption, file string) ([]byte, error) {
	files, err := f.engine.GetFiles(ctx, a.Container, a.Certificates[file])
	if err != nil {
		return nil, err
	}
	for _, found := range files {
		if strings.Contains(string(found.Content), "-----BEGIN CERTIFICATE-----") {
			return found.Content, nil
		}
	}
	return nil, fmt.Errorf("%s holds no certificate", a.Certificates[file])
}

// recordSpec is the record of an adopted node.
func (n *node) recordSpec(imageID string, labels map[string]string) engine.NodeSpec {
	spec := engine.NodeSpec{
		Name: n.handle.Object(), Image: imageID, User: fmt.Sprintf("%[1]d:%[1]d", n.user()), Labels: labels,
		// Not where nodes of ours have it: the node may have something else there.
		Mounts: []engine.Mount{{Volume: n.handle.Object(), Target: nodeRoot}},
	}
	spec.Labels[engine.LabelSpecHash] = specHash(spec, nil)
	return spec
}

// recordAdopted writes the record of an adopted node, unless it is there as it should be.
func (f *Fabric) recordAdopted(ctx context.Context, n *node, found *examined) error {
	fail := func(err error) error { return fmt.Errorf("unable to record that %s is adopted: %w", n.handle, err) }
	name := n.handle.Object()
	labels := n.handle.labels()
	maps.Copy(labels, n.labels)
	labels[engine.LabelAdopts] = found.Container // a volume of a node of ours has a ledger
	volume, err := f.engine.Volume(ctx, name)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		if err := f.engine.CreateVolume(ctx, engine.VolumeSpec{Name: name, Labels: labels}); err != nil {
			return fail(err)
		}
	case err != nil:
		return fail(err)
	default:
		if err := n.handle.requireSame("volume", name, volume.Labels); err != nil {
			return fail(err)
		}
		if volume.Labels[engine.LabelAdopts] != found.Container {
			return fail(&ExistsError{Thing: n.handle})
		}
	}
	spec := n.spec(found.imageID, nil)
	spec.Adopts = &engine.Adoption{Node: found.Container, Ports: found.Ports}
	err = f.engine.CreateNode(ctx, spec)
	if errors.Is(err, engine.ErrConflict) { // an earlier one: labels cannot be changed
		if err = f.engine.RemoveNode(ctx, name, n.handle.Owner); err == nil {
			err = f.engine.CreateNode(ctx, spec)
		}
	}
	if err != nil {
		return fail(err)
	}
	found.Endpoint = n.endpoint
	raw, err := json.Marshal(found.adoption)
	if err != nil {
		return fail(err)
	}
	if err := f.engine.PutFiles(ctx, name, nodeRoot, []engine.File{{Name: adoptionFile, Content: raw, UID: nodeUID, GID: nodeUID}}); err != nil {
		return fail(err)
	}
	return nil
}

// ensureAdopted makes an adopted node as it is wanted: another image or other limits take another
// container, which is the old one in everything else. It stays in the hands of who made it: it carries no
// label of ours.
func (f *Fabric) ensureAdopted(ctx context.Context, n *node) (NodeState, error) {
	defer f.locks.lock(n.handle.Object())()
	ctx, end := reprieved(ctx)
	defer end()
	state, err := f.ensureAdoptedLocked(ctx, n)
	return state, f.downError(ctx, n.handle, err)
}

func (f *Fabric) ensureAdoptedLocked(ctx context.Context, n *node) (NodeState, error) {
	container := n.options.Container
	image, err := f.resolveKept(ctx, n.options)
	if err != nil {
		return NodeState{}, err
	}
	settings, err := f.engine.Settings(ctx, container)
	change := engine.Change{Image: n.options.Image, Limits: n.options.Limits, Renew: imageConfig(n.handle.Kind, settings.Env)}
	if errors.Is(err, engine.ErrNotFound) { // gone, or an attempt was cut short
		if err = f.engine.Remake(ctx, container, change, grace); errors.Is(err, engine.ErrNotFound) {
			return NodeState{}, &GoneError{Node: n.handle, Container: container}
		}
		if err == nil {
			settings, err = f.engine.Settings(ctx, container)
		}
	}
	if err != nil {
		return NodeState{}, err
	}
	if settings.ImageID != image.ID || settings.Limits != change.Limits {
		if n.spared != nil {
			if err := n.spared(ctx); err != nil {
				return NodeState{}, err
			}
		}
		if err := beginReprieve(ctx); err != nil {
			return NodeState{}, err
		}
		if err := f.engine.Remake(ctx, container, change, grace); err != nil {
			return NodeState{}, f.nodeError(ctx, n.handle, "change", err)
		}
	}
	found, err := f.examine(ctx, n.handle.Kind, n.handle.Network, n.handle.Name, container)
	if err != nil {
		return NodeState{}, err
	}
	if err := f.recordAdopted(ctx, n, found); err != nil {
		return NodeState{}, err
	}
	return f.runAdopted(ctx, n, image.ID)
}

// imageConfig is the folder of the configuration that an image brings, where the node has nothing else in
// it: another release has another one. The images of Fabric declare it as a volume, and the one that an
// engine makes for that keeps the configuration of the first image.
func imageConfig(kind Kind, env map[string]string) string {
	folder, by := configOf(env), nodeEnvs[kind]
	for _, file := range []string{env[by.mspDir], env[by.tlsFile]} {
		if file = inFolder(env, file); strings.HasPrefix(file, folder+"/") {
			return ""
		}
	}
	return folder
}

// runAdopted starts or stops an adopted node, as it is wanted.
func (f *Fabric) runAdopted(ctx context.Context, n *node, imageID string) (NodeState, error) {
	current, err := f.engine.Node(ctx, n.handle.Object())
	if err != nil {
		return NodeState{}, err
	}
	state := NodeState{Status: engine.Running, ImageID: imageID, HostPorts: n.hostPorts(current.Ports)}
	if n.options.Stopped {
		state.Status = engine.Stopped
		return state, f.stop(ctx, n.handle)
	}
	if f.ailment(ctx, n.handle, current, n.ports[operationsPurpose]) != nil {
		if err := f.takeDown(ctx, n); err != nil { // to be started again
			return state, err
		}
	}
	if err := f.engine.StartNode(ctx, n.handle.Object()); err != nil {
		return state, f.nodeError(ctx, n.handle, "start", err)
	}
	return state, f.awaitReady(ctx, n)
}

// release forgets an adopted node: its record goes, and the node stays as it is. What somebody else
// made is not ours to remove.
func (f *Fabric) release(ctx context.Context, h Handle) error {
	f.conns.forget(h)
	f.furnished.Delete(h.Object())
	if err := f.engine.RemoveNode(ctx, h.Object(), h.Owner); err != nil {
		return fmt.Errorf("unable to remove the record of %s: %w", h, err)
	}
	if err := f.engine.RemoveVolume(ctx, h.Object(), h.Owner); err != nil {
		return fmt.Errorf("unable to remove the record of %s: %w", h, err)
	}
	return nil
}

// adoptedClient is operationsClient for a node whose organization has no CA here: with the TLS roots of
// the organization, and the TLS certificate of its admin.
func (f *Fabric) adoptedClient(ctx context.Context, h Handle, port int) (*http.Client, error) {
	a, err := f.adoption(ctx, h)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, fmt.Errorf("%s is not adopted: %w", h, ErrNotFound)
	}
	keys, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return nil, err
	}
	if slices.Contains(a.Plain, port) {
		client := f.httpClient(h, port, nil)
		client.Transport = plain{client.Transport}
		return client, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: h.Host()}
	if config.RootCAs, err = certPool(append(keys.Definition.TLSRootCertificates, keys.Definition.TLSIntermediateCertificates...)); err != nil {
		return nil, fmt.Errorf("unable to read the TLS roots of %s: %w", h.Organization(), err)
	}
	if certPEM, keyPEM := pairIn(keys.files, adminTLSFolder); len(certPEM) > 0 {
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return nil, fmt.Errorf("the TLS certificate of the admin of %s and its key do not go together: %w", h.Organization(), err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return f.httpClient(h, port, config), nil
}

// plain sends requests without TLS, whatever their scheme says.
type plain struct{ http.RoundTripper }

func (p plain) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return p.RoundTripper.RoundTrip(r)
}

func (p plain) CloseIdleConnections() {
	if c, ok := p.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// ensureAdoptedMember is ensureMember for an adopted node: its certificates are as they are.
func (f *Fabric) ensureAdoptedMember(ctx context.Context, n *node) (MemberState, error) {
	var state MemberState
	var err error
	if state.NodeState, err = f.ensureAdopted(ctx, n); err != nil {
		return state, err
	}
	state.Certificates, err = f.ReadCertificates(ctx, n.handle)
	return state, err
}

// releasePeer forgets an adopted peer, which stays on its channels: their records and the memberships of
// its organization leave it out.
func (f *Fabric) releasePeer(ctx context.Context, h Handle) error {
	channels, err := f.channelsLeft(ctx, h)
	if err != nil {
		return err
	}
	if err := f.leaveRecords(ctx, h, channels); err != nil {
		return err
	}
	return f.removeNode(ctx, h, true)
}
