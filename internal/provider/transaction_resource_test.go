package provider

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// transactionsConfig is a channel with a chaincode that anybody may call, one that has to be
// initialised, and a client of org1.
func transactionsConfig(name string) string {
	return plainOrganizations(name, "3.1.1", "orderer", "org1", "org2") + `
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "org1" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
}

resource "fabric_peer" "org2" {
  organization        = fabric_organization.org2.handle
  name                = "peer0.org2"
  deletion_protection = false
}

# Blocks take ten transactions, so that those of one apply meet in them.
resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  batch_timeout       = "500ms"
  max_message_count   = 10
  deletion_protection = false
  organizations = {
    org1 = { organization = fabric_organization.org1.handle, definition = fabric_organization.org1.definition, peers = { peer0 = fabric_peer.org1.handle } }
    org2 = { organization = fabric_organization.org2.handle, definition = fabric_organization.org2.definition, peers = { peer0 = fabric_peer.org2.handle } }
  }
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0", limits = { memory_mib = 64, pids = 64 } }
  endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
}

resource "fabric_chaincode" "initial" {
  channel       = fabric_channel.trade.handle
  name          = "initial"
  version       = "1.0"
  server        = { image = "fabricops/kv-chaincode:1.0" }
  init_required = true
}

resource "fabric_identity" "app" {
  organization = fabric_organization.org1.handle
  name         = "app"
}

resource "fabric_transaction" "init" {
  chaincode = fabric_chaincode.initial.handle
  identity  = fabric_organization.org1.handle
  function  = "Init"
  init      = true
}

resource "fabric_transaction" "initialised" {
  chaincode  = fabric_chaincode.initial.handle
  identity   = fabric_organization.org2.handle
  function   = "put"
  arguments  = ["a", "b"]
  depends_on = [fabric_transaction.init]
}
`
}

// signedTransaction is submitted by the client, and again when run changes.
func signedTransaction(run int) string {
	return fmt.Sprintf(`
resource "fabric_transaction" "signed" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_identity.app.handle
  function  = "put"
  arguments = ["greeting", "hello"]
  triggers  = { run = "%d" }
}
`, run)
}

// transactionID is what the transaction of a resource is imported by.
func transactionID(name, address string) resource.ImportStateIdFunc {
	return func(state *terraform.State) (string, error) {
		return name + "/trade/" + attribute(state, address, "transaction_id"), nil
	}
}

// importedTransaction is the one that signedTransaction submitted, once more.
func importedTransaction(name string) string {
	return fmt.Sprintf(`
import {
  to = fabric_transaction.again
  id = "%s/trade/${fabric_transaction.signed.transaction_id}"
}

resource "fabric_transaction" "again" {
  chaincode               = fabric_chaincode.kv.handle
  identity                = fabric_identity.app.handle
  function                = "put"
  arguments               = ["greeting", "hello"]
  endorsing_organizations = ["Org1MSP", "Org2MSP"]
  triggers                = { run = "now" }
}
`, name)
}

// racingTransactions read and write one key at once.
const racingTransactions = `
resource "fabric_transaction" "writes" {
  count      = 5
  chaincode  = fabric_chaincode.kv.handle
  identity   = fabric_organization.org1.handle
  function   = "put"
  arguments  = ["greeting", "hello ${count.index}"]
  depends_on = [fabric_transaction.signed]
}

resource "fabric_transaction" "reads" {
  count      = 5
  chaincode  = fabric_chaincode.kv.handle
  identity   = fabric_organization.org2.handle
  function   = "get"
  arguments  = ["greeting"]
  depends_on = [fabric_transaction.signed]
}
`

// TestAccTransaction submits transactions.
func TestAccTransaction(t *testing.T) {
	name := networkName(t)
	base := transactionsConfig(name)
	first := ""
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: base + signedTransaction(1) + racingTransactions,
				Check: resource.ComposeTestCheckFunc(
					resource.TestCheckResourceAttr("fabric_transaction.signed", "result", "hello"),
					resource.TestMatchResourceAttr("fabric_transaction.signed", "transaction_id", regexp.MustCompile("^[0-9a-f]{64}$")),
					resource.TestCheckResourceAttr("fabric_transaction.initialised", "result", "b"),
					resource.TestMatchResourceAttr("fabric_transaction.reads.4", "result", regexp.MustCompile("^hello")),
					func(state *terraform.State) error {
						first = attribute(state, "fabric_transaction.signed", "transaction_id")
						return signedBy(t, name, state, "fabric_transaction.signed", "app")
					},
					everyRaceWon(t, name),
				),
			},
			// From the ledger it is known as it was submitted, but for its triggers.
			{
				ResourceName: "fabric_transaction.signed", ImportState: true, ImportStateIdFunc: transactionID(name, "fabric_transaction.signed"),
				ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "transaction_id", ImportStateVerifyIgnore: []string{"triggers.%", "triggers.run"},
			},
			{
				ResourceName: "fabric_transaction.init", ImportState: true, ImportStateIdFunc: transactionID(name, "fabric_transaction.init"),
				ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "transaction_id",
			},
			{
				ResourceName: "fabric_transaction.reads[0]", ImportState: true, ImportStateIdFunc: transactionID(name, "fabric_transaction.reads.0"),
				ImportStateKind: resource.ImportBlockWithID, Config: base + signedTransaction(1) + racingTransactions,
			},
			{
				ResourceName: "fabric_transaction.signed", ImportState: true, ImportStateId: name + "/trade/" + strings.Repeat("0", 64),
				ExpectError: tells("no transaction "+strings.Repeat("0", 64), "on channel trade"),
			},
			{ // What the ledger does not tell is taken up, and nothing is submitted.
				Config:           base + signedTransaction(1) + racingTransactions + importedTransaction(name),
				ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, "fabric_transaction.again"),
				Check: resource.ComposeTestCheckFunc(
					resource.TestCheckResourceAttrPair("fabric_transaction.again", "transaction_id", "fabric_transaction.signed", "transaction_id"),
					resource.TestCheckResourceAttrPair("fabric_transaction.again", "block", "fabric_transaction.signed", "block"),
					resource.TestCheckResourceAttr("fabric_transaction.again", "result", "hello"),
				),
			},
			{ // From then on a trigger is a trigger.
				Config:           base + signedTransaction(1) + racingTransactions + strings.Replace(importedTransaction(name), `run = "now"`, `run = "later"`, 1),
				ConfigPlanChecks: planned(plancheck.ResourceActionDestroyBeforeCreate, "fabric_transaction.again"),
			},
			{ // Only what has a changed trigger is submitted again.
				Config:           base + signedTransaction(2) + racingTransactions,
				ConfigPlanChecks: planned(plancheck.ResourceActionDestroyBeforeCreate, "fabric_transaction.signed"),
				Check: func(state *terraform.State) error {
					if second := attribute(state, "fabric_transaction.signed", "transaction_id"); second == first || second == "" {
						return fmt.Errorf("the transaction is %q, and was %q before", second, first)
					}
					return signedBy(t, name, state, "fabric_transaction.signed", "app")
				},
			},
			{
				Config: base + strings.ReplaceAll(signedTransaction(3), `"put"
  arguments = ["greeting", "hello"]`, `"get"
  arguments = ["nothing"]`),
				ExpectError: regexp.MustCompile(`(?s)Unable to submit transaction get.*no value for key\s+"nothing"`),
			},
			{
				Config: base + strings.ReplaceAll(signedTransaction(4), `"put"`, `"put"
  endorsing_organizations = ["Org1MSP", "Org9MSP"]`),
				ExpectError: regexp.MustCompile(`(?s)endorsing_organizations.*Org9MSP has no peer on channel trade; there are peers of\s+Org1MSP,\s+Org2MSP`),
			},
			{ // One of two organizations is enough for the policy.
				Config: base + strings.ReplaceAll(signedTransaction(5), `"put"`, `"put"
  endorsing_organizations = ["Org2MSP"]`),
				Check: resource.ComposeTestCheckFunc(resource.TestCheckResourceAttr("fabric_transaction.signed", "result", "hello"), endorsedBy(t, name, "Org2MSP")),
			},
			{ // The policy of the other chaincode wants a majority.
				Config: base + strings.ReplaceAll(signedTransaction(6), `fabric_chaincode.kv.handle`, `fabric_chaincode.initial.handle
  endorsing_organizations = ["Org2MSP"]`),
				ExpectError: regexp.MustCompile(`(?s)Unable to submit transaction put.*ENDORSEMENT_POLICY_FAILURE`),
			},
		},
	})
}

// What an import cannot tell is taken up from the configuration, once; what the ledger tells is not.
func TestImportedTransactionIsNotSubmittedAgain(t *testing.T) {
	ledger := values{
		"chaincode": handleOf("chaincode", "trade/kv", ""), "identity": handleOf("identity", "app", "Org1MSP"), "function": "put",
		"arguments": []any{"a", "1"}, "init": false, "result": "1", "transaction_id": strings.Repeat("ab", 32), "block": 5,
	}
	config := func(changes values) values {
		return with(values{"chaincode": ledger["chaincode"], "identity": ledger["identity"], "function": "put", "arguments": []any{"a", "1"}}, changes)
	}
	imported := fmt.Appendf(nil, `{%q:%q}`, importedKey, base64.StdEncoding.EncodeToString([]byte("true")))
	for name, c := range map[string]struct {
		changes values
		private []byte
		want    []string
	}{
		"as it is":                      {values{}, imported, nil},
		"triggers":                      {values{"triggers": values{"run": "1"}}, imported, nil},
		"triggers that are not known":   {values{"triggers": unknown{}}, imported, nil},
		"everything that is not told":   {values{"triggers": values{"run": "1"}, "transient_wo_version": "1", "endorsing_organizations": []any{"Org1MSP"}}, imported, nil},
		"timeouts":                      {values{"timeouts": values{"create": "1m"}}, imported, nil},
		"another function":              {values{"function": "get", "triggers": values{"run": "1"}}, imported, []string{"function"}},
		"other arguments":               {values{"arguments": []any{"a", "2"}}, imported, []string{"arguments"}},
		"arguments that are not known":  {values{"arguments": unknown{}}, imported, []string{"arguments"}},
		"no arguments":                  {values{"arguments": nil}, imported, []string{"arguments"}},
		"another identity":              {values{"identity": handleOf("organization", "Org1MSP", "Org1MSP")}, imported, []string{"identity"}},
		"triggers later":                {values{"triggers": values{"run": "1"}}, nil, []string{"triggers"}},
		"organizations later":           {values{"endorsing_organizations": []any{"Org1MSP"}}, nil, []string{"endorsing_organizations"}},
		"another version of what is wo": {values{"transient_wo_version": "2"}, nil, []string{"transient_wo_version"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlanner(t, nil)
			p.private = c.private
			planned, diags := p.plan("fabric_transaction", ledger, config(c.changes))
			clean(t, diags)
			if len(p.replaces) != len(c.want) || len(c.want) > 0 && !strings.Contains(p.replaces[0], c.want[0]) {
				t.Fatalf("it is replaced for %v, want %v", p.replaces, c.want)
			}
			if len(c.want) == 0 {
				for _, kept := range []string{"result", "transaction_id", "block"} {
					if !planned[kept].Equal(p.value(planned[kept].Type(), ledger[kept])) {
						t.Errorf("%s is planned as %s", kept, planned[kept])
					}
				}
			}
		})
	}
	p := newPlanner(t, nil)
	if _, diags := p.plan("fabric_transaction", with(ledger, values{"arguments": nil}), config(values{"arguments": []any{}})); len(p.replaces) > 0 {
		t.Errorf("no arguments and none given are not the same: %v", diags)
	}
}

// recorded is a transaction as the ledger holds it.
type recorded struct {
	id, creator string
	block       uint64
	code        peer.TxValidationCode
	endorsers   []string
}

// ledgerOf reads every chaincode transaction of channel trade.
func ledgerOf(t *testing.T, name string) []recorded {
	t.Helper()
	var out []recorded
	for _, block := range blocksOf(t, handleOfNode(t, name+"-peer0.org1"), "trade") {
		codes := block.GetMetadata().GetMetadata()[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
		for i, raw := range block.GetData().GetData() {
			if functionOf(raw) == "" {
				continue
			}
			envelope, payload, header, signature := &common.Envelope{}, &common.Payload{}, &common.ChannelHeader{}, &common.SignatureHeader{}
			unmarshalAll(t, raw, envelope)
			unmarshalAll(t, envelope.GetPayload(), payload)
			unmarshalAll(t, payload.GetHeader().GetChannelHeader(), header)
			unmarshalAll(t, payload.GetHeader().GetSignatureHeader(), signature)
			transaction, action := &peer.Transaction{}, &peer.ChaincodeActionPayload{}
			unmarshalAll(t, payload.GetData(), transaction)
			unmarshalAll(t, transaction.GetActions()[0].GetPayload(), action)
			one := recorded{id: header.GetTxId(), block: block.GetHeader().GetNumber(), code: peer.TxValidationCode(codes[i])}
			_, one.creator = whoIs(t, signature.GetCreator())
			for _, e := range action.GetAction().GetEndorsements() {
				mspID, _ := whoIs(t, e.GetEndorser())
				one.endorsers = append(one.endorsers, mspID)
			}
			out = append(out, one)
		}
	}
	return out
}

func unmarshalAll(t *testing.T, raw []byte, into proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// whoIs gives the MSP ID and the common name of a serialized identity.
func whoIs(t *testing.T, raw []byte) (mspID, commonName string) {
	t.Helper()
	id := &mspproto.SerializedIdentity{}
	unmarshalAll(t, raw, id)
	block, _ := pem.Decode(id.GetIdBytes())
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return id.GetMspid(), cert.Subject.CommonName
}

// signedBy finds the transaction of a resource in the ledger: in the block that the state names,
// valid, and signed by the given identity.
func signedBy(t *testing.T, name string, state *terraform.State, address, commonName string) error {
	id, block := attribute(state, address, "transaction_id"), attribute(state, address, "block")
	for _, tx := range ledgerOf(t, name) {
		if tx.id != id {
			continue
		}
		if tx.creator != commonName || strconv.FormatUint(tx.block, 10) != block || tx.code != peer.TxValidationCode_VALID {
			return fmt.Errorf("transaction %s is %s in block %d, by %s; the state says block %s", id, tx.code, tx.block, tx.creator, block)
		}
		return nil
	}
	return fmt.Errorf("transaction %q is not in the ledger", id)
}

// everyRaceWon expects that what lost a race was made anew: the apply succeeded although
// transactions of it are invalid. Whether some are is up to chance, at odds of 1 to 251.
func everyRaceWon(t *testing.T, name string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		lost := 0
		for _, tx := range ledgerOf(t, name) {
			switch tx.code {
			case peer.TxValidationCode_VALID:
			case peer.TxValidationCode_MVCC_READ_CONFLICT:
				lost++
			default:
				return fmt.Errorf("transaction %s is %s", tx.id, tx.code)
			}
		}
		t.Logf("%d transactions lost a race and were made anew", lost)
		return nil
	}
}

// endorsedBy expects the endorsers of the last transaction.
func endorsedBy(t *testing.T, name, mspID string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		all := ledgerOf(t, name)
		if last := all[len(all)-1]; len(last.endorsers) != 1 || last.endorsers[0] != mspID {
			return fmt.Errorf("the last transaction was endorsed by %v, want %s alone", last.endorsers, mspID)
		}
		return nil
	}
}
