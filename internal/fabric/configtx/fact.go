package configtx

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/smartbft"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// orderID is the id of the fact that is the order of a list.
const orderID = "\x00order"

// fact is one thing that a value says, in words.
type fact struct {
	// field is its name, such as max_message_count; id tells members of a list apart.
	field, id string
	// label names it for a reader: "batch max_message_count", "consenter orderer0.example.com:7050".
	label string
	// value is what it says; empty for a member of which there is nothing to say but that it is there.
	value string
	// detail is whether it goes without saying when it came or went with its member of a list, or with
	// the value.
	detail bool
}

func (f fact) key() [2]string { return [2]string{f.field, f.id} }

// facts reads what a value says. It gives false when Fabric has no such value, or when it is damaged.
func facts(path string, owner string, value []byte) ([]fact, bool) {
	w := &factWriter{reader: reader{}, owner: owner}
	read, ok := map[string]func(*factWriter, []byte){
		keyCapabilities:        (*factWriter).capabilities,
		keyHashingAlgorithm:    (*factWriter).hashing,
		keyDataHashing:         (*factWriter).dataHashing,
		keyOrdererAddresses:    (*factWriter).globalAddresses,
		keyConsensusType:       (*factWriter).consensus,
		keyBatchSize:           (*factWriter).batchSize,
		keyBatchTimeout:        (*factWriter).batchTimeout,
		keyChannelRestrictions: (*factWriter).restrictions,
		keyOrderers:            (*factWriter).orderers,
		keyEndpoints:           (*factWriter).endpoints,
		keyMSP:                 (*factWriter).msp,
		keyAnchorPeers:         (*factWriter).anchorPeers,
		keyACLs:                (*factWriter).acls,
	}[nameOf(path)]
	if !ok {
		return nil, false
	}
	w.group = groupLabel(path)
	read(w, value)
	return w.all, w.err == nil
}

// groupLabel says which part of the channel a value belongs to.
func groupLabel(path string) string {
	switch parts := pathParts(path); {
	case len(parts) > 1 && parts[1] == groupOrderer:
		return "orderer"
	case len(parts) > 1 && parts[1] == groupApplication:
		return "application"
	default:
		return "channel"
	}
}

type factWriter struct {
	reader
	all   []fact
	group string
	owner string // the MSP ID of the organization that the value belongs to
}

func (w *factWriter) add(f fact) {
	// A list that holds one thing twice says so.
	for n := 2; slices.ContainsFunc(w.all, func(g fact) bool { return g.key() == f.key() }); n++ {
		f.id = strings.TrimSuffix(f.id, fmt.Sprintf(" (%d)", n-1)) + fmt.Sprintf(" (%d)", n)
	}
	w.all = append(w.all, f)
}

func (w *factWriter) scalar(field, label, value string) {
	w.add(fact{field: field, label: label, value: value})
}

// scalars gives every set field of a message, under its name in the proto.
func (w *factWriter) scalars(label string, message proto.Message, skip ...string) {
	fields := message.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		name := string(field.Name())
		if field.IsList() || field.IsMap() || field.Message() != nil || slices.Contains(skip, name) {
			continue
		}
		value := message.ProtoReflect().Get(field)
		text := value.String()
		if field.Kind() == protoreflect.EnumKind {
			if v := field.Enum().Values().ByNumber(value.Enum()); v != nil {
				text = string(v.Name())
			}
		}
		w.scalar(name, label+" "+name, text)
	}
}

// order notes the order of a list, which only shows when the same things stand in another order.
func (w *factWriter) order(field, label string, ids []string) {
	w.add(fact{field: field, id: orderID, label: label, value: strings.Join(ids, ", "), detail: true})
}

func (w *factWriter) list(field, label string, ids []string) {
	for _, id := range ids {
		w.add(fact{field: field, id: id, label: label + " " + id})
	}
	w.order(field, "order of "+label+"s", ids)
}

func (w *factWriter) capabilities(value []byte) {
	m := &common.Capabilities{}
	w.unmarshal("", value, m)
	w.scalar("capabilities", w.group+" capability", strings.Join(slices.Sorted(maps.Keys(m.GetCapabilities())), ", "))
}

func (w *factWriter) hashing(value []byte) {
	m := &common.HashingAlgorithm{}
	w.unmarshal("", value, m)
	w.scalars("hashing algorithm", m)
}

func (w *factWriter) dataHashing(value []byte) {
	m := &common.BlockDataHashingStructure{}
	w.unmarshal("", value, m)
	w.scalars("block data hashing", m)
}

func (w *factWriter) globalAddresses(value []byte) {
	m := &common.OrdererAddresses{}
	w.unmarshal("", value, m)
	w.list("addresses", "global orderer address", m.GetAddresses())
}

func (w *factWriter) batchSize(value []byte) {
	m := &orderer.BatchSize{}
	w.unmarshal("", value, m)
	w.scalars("batch", m)
}

func (w *factWriter) batchTimeout(value []byte) {
	m := &orderer.BatchTimeout{}
	w.unmarshal("", value, m)
	w.scalars("batch", m)
}

func (w *factWriter) restrictions(value []byte) {
	m := &orderer.ChannelRestrictions{}
	w.unmarshal("", value, m)
	w.scalars("channel restriction", m)
}

func (w *factWriter) endpoints(value []byte) {
	m := &common.OrdererAddresses{}
	w.unmarshal("", value, m)
	for _, address := range m.GetAddresses() {
		w.add(fact{field: "endpoints", id: address, label: "orderer endpoint " + address + " of " + w.owner})
	}
	w.order("endpoints", "order of the orderer endpoints of "+w.owner, m.GetAddresses())
}

func (w *factWriter) anchorPeers(value []byte) {
	m := &peer.AnchorPeers{}
	w.unmarshal("", value, m)
	var ids []string
	for _, a := range m.GetAnchorPeers() {
		id := net.JoinHostPort(a.GetHost(), strconv.Itoa(int(a.GetPort())))
		ids = append(ids, id)
		w.add(fact{field: "anchor_peers", id: id, label: "anchor peer " + id + " of " + w.owner})
	}
	w.order("anchor_peers", "order of the anchor peers of "+w.owner, ids)
}

func (w *factWriter) acls(value []byte) {
	m := &peer.ACLs{}
	w.unmarshal("", value, m)
	for _, resource := range slices.Sorted(maps.Keys(m.GetAcls())) {
		w.add(fact{field: "acls", id: resource, label: "ACL of " + resource, value: m.GetAcls()[resource].GetPolicyRef()})
	}
}

func (w *factWriter) consensus(value []byte) {
	m := &orderer.ConsensusType{}
	w.unmarshal("", value, m)
	w.scalars("consensus", m, "metadata")
	switch m.GetType() {
	case ConsensusRaft:
		metadata := &etcdraft.ConfigMetadata{}
		w.unmarshal("", m.GetMetadata(), metadata)
		w.scalars("Raft", metadata.GetOptions())
		var ids []string
		for _, c := range metadata.GetConsenters() {
			ids = append(ids, w.consenter(c, "", 0))
		}
		w.order("consenters", "order of the consenters", ids)
	case ConsensusBFT:
		options := &smartbft.Options{}
		w.unmarshal("", m.GetMetadata(), options)
		w.scalars("SmartBFT", options)
	default:
		w.scalar("metadata", "consensus metadata", summaryOf(m.GetMetadata()))
	}
}

// tlsConsenter is what consenters of Raft and of SmartBFT share.
type tlsConsenter interface {
	GetHost() string
	GetPort() uint32
	GetClientTlsCert() []byte
	GetServerTlsCert() []byte
}

func (w *factWriter) consenter(c tlsConsenter, more string, number uint32) string {
	id := net.JoinHostPort(c.GetHost(), strconv.Itoa(int(c.GetPort())))
	label := "consenter " + id
	w.add(fact{field: "consenters", id: id, label: label, value: more})
	detail := func(field string, value string) {
		w.add(fact{field: field, id: id, label: label + " " + field, value: value, detail: true})
	}
	if number > 0 {
		detail("id", strconv.Itoa(int(number)))
	}
	detail("client_tls_certificate", describeCertificate(c.GetClientTlsCert()))
	detail("server_tls_certificate", describeCertificate(c.GetServerTlsCert()))
	return id
}

func (w *factWriter) orderers(value []byte) {
	m := &common.Orderers{}
	w.unmarshal("", value, m)
	var ids []string
	for _, c := range m.GetConsenterMapping() {
		id := w.consenter(c, "", c.GetId())
		ids = append(ids, id)
		w.add(fact{field: "msp_id", id: id, label: "consenter " + id + " msp_id", value: c.GetMspId(), detail: true})
		w.add(fact{field: "identity", id: id, label: "consenter " + id + " identity", value: describeCertificate(c.GetIdentity()), detail: true})
	}
	w.order("consenters", "order of the consenters", ids)
}

func (w *factWriter) msp(value []byte) {
	config := &mspproto.MSPConfig{}
	w.unmarshal("", value, config)
	if config.GetType() != mspTypeX509 {
		w.scalar("config", w.owner+" MSP of type "+strconv.Itoa(int(config.GetType())), summaryOf(config.GetConfig()))
		return
	}
	m := &mspproto.FabricMSPConfig{}
	w.unmarshal("", config.GetConfig(), m)
	w.add(fact{field: "msp_id", label: "MSP ID", value: m.GetName(), detail: true})
	for _, part := range []struct {
		field, label string
		texts        [][]byte
	}{
		{"root_certificates", "enrolment root", m.GetRootCerts()},
		{"intermediate_certificates", "enrolment intermediate", m.GetIntermediateCerts()},
		{"tls_root_certificates", "TLS root", m.GetTlsRootCerts()},
		{"tls_intermediate_certificates", "TLS intermediate", m.GetTlsIntermediateCerts()},
		{"admin_certificates", "admin certificate", m.GetAdmins()},
	} {
		var ids []string
		for _, text := range part.texts {
			id := describeCertificate(text)
			ids = append(ids, id)
			w.add(fact{field: part.field, id: fingerprint(text), label: w.owner + " " + part.label, value: id})
		}
		w.order(part.field, "order of the "+part.label+"s of "+w.owner, ids)
	}
	for _, list := range m.GetRevocationList() {
		issuer, serials := describeRevocations(list)
		w.add(fact{field: "revocation_lists", id: issuer, label: w.owner + " revocation list", value: serials})
	}
	w.nodeOUs(m)
	for _, unit := range m.GetOrganizationalUnitIdentifiers() {
		w.add(fact{
			field: "organizational_units", id: unit.GetOrganizationalUnitIdentifier() + fingerprint(unit.GetCertificate()),
			label: w.owner + " organizational unit " + unit.GetOrganizationalUnitIdentifier() + " of " + describeCertificate(unit.GetCertificate()),
		})
	}
	crypto := m.GetCryptoConfig()
	w.add(fact{field: "signature_hash_family", label: w.owner + " signature hash family", value: crypto.GetSignatureHashFamily(), detail: true})
	w.add(fact{field: "identity_identifier_hash_function", label: w.owner + " identity hash function", value: crypto.GetIdentityIdentifierHashFunction(), detail: true})
}

func (w *factWriter) nodeOUs(m *mspproto.FabricMSPConfig) {
	ous := m.GetFabricNodeOus()
	w.scalar("node_ous", w.owner+" NodeOUs", map[bool]string{true: "on", false: "off"}[ous.GetEnable()])
	for _, ou := range []struct {
		role string
		unit *mspproto.FabricOUIdentifier
	}{
		{"client", ous.GetClientOuIdentifier()}, {"peer", ous.GetPeerOuIdentifier()},
		{"admin", ous.GetAdminOuIdentifier()}, {"orderer", ous.GetOrdererOuIdentifier()},
	} {
		if ou.unit == nil {
			continue
		}
		text := "unit " + ou.unit.GetOrganizationalUnitIdentifier() + " of any CA"
		if len(ou.unit.GetCertificate()) > 0 {
			text = "unit " + ou.unit.GetOrganizationalUnitIdentifier() + " of " + describeCertificate(ou.unit.GetCertificate())
		}
		w.add(fact{field: "node_ous." + ou.role, label: w.owner + " NodeOU " + ou.role + ":", value: text, detail: true})
	}
}

// describeCertificate gives a certificate in a few words.
func describeCertificate(text []byte) string {
	if len(text) == 0 {
		return "none"
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "unreadable certificate " + summaryOf(text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "unreadable certificate " + summaryOf(text)
	}
	return fmt.Sprintf("CN=%s (serial %x, until %s)", cert.Subject.CommonName, cert.SerialNumber, cert.NotAfter.UTC().Format(time.DateOnly))
}

// fingerprint tells certificates apart, however their PEM is laid out.
func fingerprint(text []byte) string {
	der := text
	if block, _ := pem.Decode(text); block != nil {
		der = block.Bytes
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// describeRevocations names the CA of a revocation list and says what it revokes.
func describeRevocations(text []byte) (issuer, serials string) {
	list, err := parseRevocationList(text)
	if err != nil {
		return "unreadable", summaryOf(text)
	}
	var all []string
	for _, entry := range list.RevokedCertificateEntries {
		all = append(all, fmt.Sprintf("%x", entry.SerialNumber))
	}
	slices.Sort(all)
	return hex.EncodeToString(list.AuthorityKeyId) + list.Issuer.String(), countOf(all)
}

// maxSerials bounds how many serials are spelled out.
const maxSerials = 8

func countOf(serials []string) string {
	switch n := len(serials); {
	case n == 0:
		return "0 certificates"
	case n == 1:
		return "1 certificate (serial " + serials[0] + ")"
	case n > maxSerials:
		return fmt.Sprintf("%d certificates (%s)", n, summaryOf([]byte(strings.Join(serials, ","))))
	default:
		return fmt.Sprintf("%d certificates (serials %s)", n, strings.Join(serials, ", "))
	}
}

// summaryOf tells bytes apart that have no words.
func summaryOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return fmt.Sprintf("%d bytes, SHA-256 %s…", len(raw), hex.EncodeToString(sum[:6]))
}
