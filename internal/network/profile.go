package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// ProfileSpec asks for a connection profile.
type ProfileSpec struct {
	// Organization is whose applications use the profile.
	Organization Handle
	// Channel adds the members of a channel and its ordering nodes; nil gives the organization alone.
	Channel *Handle
	// Inside gives the addresses by which the nodes reach each other, for applications on the
	// network itself; otherwise the ones are given that are published on the engine's host.
	Inside bool
}

// Profile is a connection profile: what an application must know of a network to reach it. It is
// the form that Fabric's samples hand to Gateway clients and that the Fabric SDKs for Go and Node
// read (fabric-sdk-go, pkg/core/config/testdata/template/config.yaml). The same network gives the
// same bytes.
type Profile struct {
	Name                   string                         `json:"name" yaml:"name"`
	Version                string                         `json:"version" yaml:"version"`
	Client                 profileClient                  `json:"client" yaml:"client"`
	Channels               map[string]profileChannel      `json:"channels,omitempty" yaml:"channels,omitempty"`
	Organizations          map[string]profileOrganization `json:"organizations" yaml:"organizations"`
	Orderers               map[string]profileNode         `json:"orderers,omitempty" yaml:"orderers,omitempty"`
	Peers                  map[string]profileNode         `json:"peers" yaml:"peers"`
	CertificateAuthorities map[string]profileCA           `json:"certificateAuthorities,omitempty" yaml:"certificateAuthorities,omitempty"`
	EntityMatchers         *profileMatchers               `json:"entityMatchers,omitempty" yaml:"entityMatchers,omitempty"`
}

type (
	profileClient struct {
		Organization string `json:"organization" yaml:"organization"`
	}
	profileChannel struct {
		Orderers []string                       `json:"orderers" yaml:"orderers"`
		Peers    map[string]profilePeerOfMember `json:"peers" yaml:"peers"`
	}
	profilePeerOfMember struct {
		EndorsingPeer  bool `json:"endorsingPeer" yaml:"endorsingPeer"`
		ChaincodeQuery bool `json:"chaincodeQuery" yaml:"chaincodeQuery"`
		LedgerQuery    bool `json:"ledgerQuery" yaml:"ledgerQuery"`
		EventSource    bool `json:"eventSource" yaml:"eventSource"`
	}
	profileOrganization struct {
		MSPID string `json:"mspid" yaml:"mspid"`
		// CryptoPath is where fabric-sdk-go looks for users whom the application does not give it
		// itself; it refuses an organization without one.
		CryptoPath             string   `json:"cryptoPath" yaml:"cryptoPath"`
		Peers                  []string `json:"peers" yaml:"peers"`
		CertificateAuthorities []string `json:"certificateAuthorities,omitempty" yaml:"certificateAuthorities,omitempty"`
	}
	profileNode struct {
		URL         string             `json:"url" yaml:"url"`
		GRPCOptions profileGRPCOptions `json:"grpcOptions" yaml:"grpcOptions"`
		TLSCACerts  profilePEM         `json:"tlsCACerts" yaml:"tlsCACerts"`
	}
	// profileGRPCOptions hold the name in the node's certificate twice: the SDK for Go reads the
	// first, that for Node and the samples of the Gateway clients the second.
	profileGRPCOptions struct {
		TargetNameOverride string `json:"ssl-target-name-override" yaml:"ssl-target-name-override"`
		HostnameOverride   string `json:"hostnameOverride" yaml:"hostnameOverride"`
	}
	profilePEM struct {
		PEM string `json:"pem" yaml:"pem"`
	}
	profileCA struct {
		URL         string             `json:"url" yaml:"url"`
		CAName      string             `json:"caName" yaml:"caName"`
		TLSCACerts  profilePEMs        `json:"tlsCACerts" yaml:"tlsCACerts"`
		HTTPOptions profileHTTPOptions `json:"httpOptions" yaml:"httpOptions"`
	}
	profilePEMs struct {
		PEM []string `json:"pem" yaml:"pem"`
	}
	profileHTTPOptions struct {
		Verify bool `json:"verify" yaml:"verify"`
	}
	// profileMatchers tell fabric-sdk-go by which entry of the profile it reaches a node that service
	// discovery or the channel configuration names by its address on the network.
	profileMatchers struct {
		Peer    []profileMatcher `json:"peer,omitempty" yaml:"peer,omitempty"`
		Orderer []profileMatcher `json:"orderer,omitempty" yaml:"orderer,omitempty"`
	}
	profileMatcher struct {
		Pattern    string `json:"pattern" yaml:"pattern"`
		MappedHost string `json:"mappedHost" yaml:"mappedHost"`
	}
)

// JSON gives the profile as indented JSON that ends with a line break.
func (p Profile) JSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(p)
	return out.Bytes(), err
}

// YAML gives the profile as YAML.
func (p Profile) YAML() ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := errors.Join(encoder.Encode(p), encoder.Close())
	return out.Bytes(), err
}

// ConnectionProfile describes the network to the applications of an organization, from the engine's
// labels and ports and the record of the channel. Nodes need not run. With a channel, every node of
// it must have its container, because nothing else tells its port.
func (f *Fabric) ConnectionProfile(ctx context.Context, spec ProfileSpec) (Profile, error) {
	p := profileBuilder{
		fabric: f, inside: spec.Inside,
		profile: Profile{Version: "1.0.0", Organizations: map[string]profileOrganization{}, Peers: map[string]profileNode{}},
	}
	profile, err := p.build(ctx, spec)
	if err != nil {
		return Profile{}, fmt.Errorf("unable to make the connection profile of %s: %w", spec.Organization, err)
	}
	return profile, nil
}

type profileBuilder struct {
	fabric  *Fabric
	inside  bool
	profile Profile
}

func (p *profileBuilder) build(ctx context.Context, spec ProfileSpec) (Profile, error) {
	members, orderers, err := p.members(ctx, spec)
	if err != nil {
		return Profile{}, err
	}
	mspIDs := slices.Sorted(maps.Keys(members))
	if !slices.Contains(mspIDs, spec.Organization.MSPID) {
		return Profile{}, fmt.Errorf("it is not a member of %s, whose members are %s", *spec.Channel, strings.Join(mspIDs, ", "))
	}
	names := organizationNames(mspIDs)
	p.profile.Client.Organization = names[spec.Organization.MSPID]
	p.profile.Name = spec.Organization.Network + "-" + p.profile.Client.Organization
	channel := profileChannel{Orderers: []string{}, Peers: map[string]profilePeerOfMember{}}
	for _, mspID := range mspIDs {
		entry := profileOrganization{MSPID: mspID, CryptoPath: "users/{username}/msp", Peers: []string{}}
		for _, h := range members[mspID] {
			if err := p.addNode(ctx, h, peerPort); err != nil {
				return Profile{}, err
			}
			entry.Peers = append(entry.Peers, h.Host())
			channel.Peers[h.Host()] = profilePeerOfMember{EndorsingPeer: true, ChaincodeQuery: true, LedgerQuery: true, EventSource: true}
		}
		if mspID == spec.Organization.MSPID {
			if entry.CertificateAuthorities, err = p.addCA(ctx, spec.Organization); err != nil {
				return Profile{}, err
			}
		}
		p.profile.Organizations[names[mspID]] = entry
	}
	if spec.Channel == nil {
		return p.profile, nil
	}
	for _, h := range orderers {
		if err := p.addNode(ctx, h, ordererPort); err != nil {
			return Profile{}, err
		}
		channel.Orderers = append(channel.Orderers, h.Host())
	}
	p.profile.Channels = map[string]profileChannel{spec.Channel.Name: channel}
	return p.profile, nil
}

// members gives the peers of each organization by MSP ID, each in the order of their names, and the
// ordering nodes: those of the channel or, without one, the peers that the organization has.
func (p *profileBuilder) members(ctx context.Context, spec ProfileSpec) (map[string][]Handle, []Handle, error) {
	members := map[string][]Handle{}
	if spec.Channel == nil {
		nodes, err := p.fabric.engine.Nodes(ctx, map[string]string{
			engine.LabelOwner: spec.Organization.Owner, engine.LabelNetwork: spec.Organization.Network,
			engine.LabelKind: string(KindPeer), labelMSPID: spec.Organization.MSPID,
		})
		if err != nil {
			return nil, nil, err
		}
		members[spec.Organization.MSPID] = nil
		for _, n := range nodes {
			if n.Labels[labelOnce] == "" {
				members[spec.Organization.MSPID] = append(members[spec.Organization.MSPID], handleOf(n.Labels))
			}
		}
		slices.SortStableFunc(members[spec.Organization.MSPID], compareNames)
		return members, nil, nil
	}
	record, err := p.fabric.channelRecord(ctx, *spec.Channel)
	if err != nil {
		return nil, nil, err
	}
	for _, org := range record.Organizations {
		mspID := org.Organization.MSPID
		members[mspID] = slices.SortedStableFunc(maps.Values(org.Peers), compareNames)
	}
	orderers, err := p.fabric.Orderers(ctx, record.Orderers)
	return members, orderers, err
}

func compareNames(a, b Handle) int { return strings.Compare(a.Name, b.Name) }

// organizationNames gives the name by which the profile calls each organization: as in Fabric's
// samples the MSP ID without the ending MSP, and the MSP ID where that would be ambiguous. SDKs do
// not tell upper from lower case.
func organizationNames(mspIDs []string) map[string]string {
	short := func(mspID string) string {
		if name := strings.TrimSuffix(mspID, "MSP"); name != "" {
			return name
		}
		return mspID
	}
	uses := map[string]int{}
	for _, mspID := range mspIDs {
		uses[strings.ToLower(short(mspID))]++
	}
	names := map[string]string{}
	for _, mspID := range mspIDs {
		if names[mspID] = short(mspID); uses[strings.ToLower(short(mspID))] > 1 {
			names[mspID] = mspID
		}
	}
	return names
}

// addNode adds a peer or an ordering node.
func (p *profileBuilder) addNode(ctx context.Context, h Handle, port int) error {
	endpoint, address, err := p.addresses(ctx, h, port)
	if err != nil {
		return err
	}
	org, err := p.fabric.organizationKeys(ctx, h.Organization())
	if err != nil {
		return err
	}
	entry := profileNode{
		URL:         "grpcs://" + address,
		GRPCOptions: profileGRPCOptions{TargetNameOverride: h.Host(), HostnameOverride: h.Host()},
		// Roots alone: the node shows the intermediates itself.
		TLSCACerts: profilePEM{strings.Join(org.Definition.TLSRootCertificates, "")},
	}
	matcher := profileMatcher{Pattern: "^" + regexp.QuoteMeta(endpoint) + "$", MappedHost: h.Host()}
	if p.profile.EntityMatchers == nil {
		p.profile.EntityMatchers = &profileMatchers{}
	}
	if h.Kind == KindOrderer {
		if p.profile.Orderers == nil {
			p.profile.Orderers = map[string]profileNode{}
		}
		p.profile.Orderers[h.Host()] = entry
		p.profile.EntityMatchers.Orderer = append(p.profile.EntityMatchers.Orderer, matcher)
		return nil
	}
	p.profile.Peers[h.Host()] = entry
	p.profile.EntityMatchers.Peer = append(p.profile.EntityMatchers.Peer, matcher)
	return nil
}

// addCA adds the CA of an organization and gives its name; a partner's has none here.
func (p *profileBuilder) addCA(ctx context.Context, organization Handle) ([]string, error) {
	org, err := p.fabric.organizationKeys(ctx, organization)
	if err != nil || org.CA == "" {
		return nil, err
	}
	h, err := org.ca()
	if err != nil {
		return nil, err
	}
	_, address, err := p.addresses(ctx, h, caPort)
	if err != nil {
		return nil, err
	}
	p.profile.CertificateAuthorities = map[string]profileCA{h.Host(): {
		URL: "https://" + address, CAName: enrollmentCA,
		TLSCACerts: profilePEMs{org.Definition.TLSRootCertificates}, HTTPOptions: profileHTTPOptions{Verify: true},
	}}
	return []string{h.Host()}, nil
}

// addresses gives the address by which other nodes reach a node, and the one that the profile names.
func (p *profileBuilder) addresses(ctx context.Context, h Handle, port int) (endpoint, address string, err error) {
	n, err := p.fabric.ownNode(ctx, h)
	if err != nil {
		return "", "", err
	}
	if endpoint = n.Labels[labelEndpoint]; endpoint == "" {
		return "", "", fmt.Errorf("the container of %s does not say its endpoint", h)
	}
	if p.inside {
		return endpoint, endpoint, nil
	}
	info, err := p.fabric.info(ctx)
	if err != nil {
		return "", "", err
	}
	for _, published := range n.Ports {
		if published.Container == port {
			host := publishedHost(published.Address, info.Address)
			return endpoint, net.JoinHostPort(host, strconv.Itoa(published.Host)), nil
		}
	}
	return "", "", fmt.Errorf("%s does not publish port %d on the engine's host", h, port)
}

// ownNode reads the container of a thing of ours. ErrNotFound when it is gone.
func (f *Fabric) ownNode(ctx context.Context, h Handle) (engine.Node, error) {
	n, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return n, fmt.Errorf("%s has no container: %w", h, ErrNotFound)
	}
	if err != nil {
		return n, fmt.Errorf("unable to read %s: %w", h, err)
	}
	if owner := n.Labels[engine.LabelOwner]; owner != h.Owner {
		return n, &engine.ForeignError{Kind: "container", Name: h.Object(), Owner: owner}
	}
	return n, nil
}

// publishedHost gives the host at which a port is reached that is bound to an address of the
// engine's host. One that is bound to every address is reached where the engine is.
func publishedHost(bound, engineAddress string) string {
	if !wildcard(bound) {
		return bound
	}
	if at, err := url.Parse(engineAddress); err == nil && at.Hostname() != "" && at.Scheme != "unix" && at.Scheme != "npipe" {
		return at.Hostname()
	}
	return "127.0.0.1"
}
