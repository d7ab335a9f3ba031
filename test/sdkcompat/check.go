package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-sdk-go/pkg/client/ledger"
	mspclient "github.com/hyperledger/fabric-sdk-go/pkg/client/msp"
	"github.com/hyperledger/fabric-sdk-go/pkg/client/resmgmt"
	"github.com/hyperledger/fabric-sdk-go/pkg/common/logging"
	mspprovider "github.com/hyperledger/fabric-sdk-go/pkg/common/providers/msp"
	"github.com/hyperledger/fabric-sdk-go/pkg/core/config"
	"github.com/hyperledger/fabric-sdk-go/pkg/fabsdk"
	"github.com/hyperledger/fabric-sdk-go/pkg/gateway"
)

// check does everything that was asked for.
func check(s settings, scratch string) (*report, error) {
	logging.SetLevel("fabsdk", logging.ERROR)
	p, err := readProfile(s.profile)
	if err != nil {
		return nil, err
	}
	r := &report{Organization: p.organization(), MSPID: p.mspID(), Skipped: map[string]string{}}
	application, err := readIdentity(s.msp)
	if err != nil {
		return nil, err
	}
	if err := r.transact(s, application); err != nil {
		return nil, err
	}

	p.keepIn(scratch)
	if s.registrarMSP != "" {
		registrar, err := readIdentity(s.registrarMSP)
		if err != nil {
			return nil, err
		}
		if err := p.registerAs(registrar); err != nil {
			return nil, err
		}
	}
	provider, err := p.config()
	if err != nil {
		return nil, err
	}
	sdk, err := fabsdk.New(provider)
	if err != nil {
		return nil, fmt.Errorf("unable to start the SDK: %w", err)
	}
	defer sdk.Close()
	users, err := mspclient.New(sdk.Context(), mspclient.WithOrg(p.organization()))
	if err != nil {
		return nil, fmt.Errorf("unable to make the MSP client: %w", err)
	}
	if err := r.inspect(sdk, users, s, application); err != nil {
		return nil, err
	}
	return r, r.enroll(users, s)
}

// transact writes and reads through the SDK's gateway package, with the profile as it was emitted.
func (r *report) transact(s settings, application identity) error {
	wallet := gateway.NewInMemoryWallet()
	if err := wallet.Put(application.name, gateway.NewX509Identity(r.MSPID, application.certificate, application.key)); err != nil {
		return err
	}
	gw, err := gateway.Connect(gateway.WithConfig(config.FromFile(s.profile)), gateway.WithIdentity(wallet, application.name))
	if err != nil {
		return fmt.Errorf("unable to connect with the connection profile: %w", err)
	}
	defer gw.Close()
	network, err := gw.GetNetwork(s.channel)
	if err != nil {
		return fmt.Errorf("unable to use channel %s: %w", s.channel, err)
	}
	contract := network.GetContract(s.chaincode)
	written, err := contract.SubmitTransaction("put", s.key, s.value)
	if err != nil {
		return fmt.Errorf("unable to submit put: %w", err)
	}
	read, err := contract.EvaluateTransaction("get", s.key)
	if err != nil {
		return fmt.Errorf("unable to evaluate get: %w", err)
	}
	r.Written, r.Read = string(written), string(read)
	if r.Read != s.value {
		return fmt.Errorf("the ledger has %q under %s, and %q was written", r.Read, s.key, s.value)
	}
	return nil
}

// inspect queries the ledger and the lifecycle.
func (r *report) inspect(sdk *fabsdk.FabricSDK, users *mspclient.Client, s settings, application identity) error {
	member, err := signing(users, application)
	if err != nil {
		return err
	}
	chain, err := ledger.New(sdk.ChannelContext(s.channel, fabsdk.WithIdentity(member)))
	if err != nil {
		return fmt.Errorf("unable to make the ledger client: %w", err)
	}
	info, err := chain.QueryInfo()
	if err != nil {
		return fmt.Errorf("unable to query the ledger: %w", err)
	}
	if r.Height = info.BCI.GetHeight(); r.Height == 0 {
		return errors.New("the ledger has no block")
	}
	management, err := resmgmt.New(sdk.Context(fabsdk.WithIdentity(member)))
	if err != nil {
		return fmt.Errorf("unable to make the resource management client: %w", err)
	}
	definitions, err := management.LifecycleQueryCommittedCC(s.channel, resmgmt.LifecycleQueryCommittedCCRequest{Name: s.chaincode})
	if err != nil {
		return fmt.Errorf("unable to query what is committed: %w", err)
	}
	for _, d := range definitions {
		r.Committed = append(r.Committed, chaincode{Name: s.chaincode, Version: d.Version, Sequence: d.Sequence})
	}
	if len(r.Committed) == 0 {
		return fmt.Errorf("chaincode %s is not committed on %s", s.chaincode, s.channel)
	}
	return r.installed(sdk, users, s)
}

// installed asks the organization's first peer for its packages, which only an admin may.
func (r *report) installed(sdk *fabsdk.FabricSDK, users *mspclient.Client, s settings) error {
	if s.adminMSP == "" {
		r.Skipped["installed"] = "no -admin-msp was given"
		return nil
	}
	who, err := readIdentity(s.adminMSP)
	if err != nil {
		return err
	}
	admin, err := signing(users, who)
	if err != nil {
		return err
	}
	provider := sdk.Context(fabsdk.WithIdentity(admin))
	client, err := provider()
	if err != nil {
		return err
	}
	peers, ok := client.EndpointConfig().PeersConfig(r.Organization)
	if !ok || len(peers) == 0 {
		return fmt.Errorf("%s has no peer in the connection profile", r.Organization)
	}
	management, err := resmgmt.New(provider)
	if err != nil {
		return fmt.Errorf("unable to make the resource management client: %w", err)
	}
	packages, err := management.LifecycleQueryInstalledCC(resmgmt.WithTargetEndpoints(peers[0].URL))
	if err != nil {
		return fmt.Errorf("unable to query what is installed: %w", err)
	}
	for _, p := range packages {
		r.Installed = append(r.Installed, p.PackageID)
	}
	slices.Sort(r.Installed)
	if len(r.Installed) == 0 {
		return errors.New("no chaincode package is installed")
	}
	return nil
}

// enroll registers and enrols a new identity by the registrar, and enrols the one whose secret was given.
func (r *report) enroll(users *mspclient.Client, s settings) error {
	if s.registrarMSP == "" {
		r.Skipped["registration"] = "no -registrar-msp was given"
	} else {
		name := "sdkcompat-" + unique()
		secret, err := users.Register(&mspclient.RegistrationRequest{Name: name, Type: "client", MaxEnrollments: 1})
		if err != nil {
			return fmt.Errorf("unable to register: %w", err)
		}
		if err := r.enrollOne(users, name, secret); err != nil {
			return err
		}
	}
	if s.enrollID == "" || s.enrollSecret == "" {
		r.Skipped["enrolment"] = envEnrollID + " and " + envEnrollSecret + " are not set"
		return nil
	}
	return r.enrollOne(users, s.enrollID, s.enrollSecret)
}

func (r *report) enrollOne(users *mspclient.Client, name, secret string) error {
	if err := users.Enroll(name, mspclient.WithSecret(secret)); err != nil {
		return fmt.Errorf("unable to enrol %s: %w", name, err)
	}
	enrolled, err := users.GetSigningIdentity(name)
	if err != nil {
		return fmt.Errorf("unable to use %s after enrolment: %w", name, err)
	}
	if enrolled.Identifier().MSPID != r.MSPID {
		return fmt.Errorf("%s was enrolled into %s", name, enrolled.Identifier().MSPID)
	}
	r.Enrolled = append(r.Enrolled, name)
	return nil
}

// signing gives an identity to the SDK.
func signing(users *mspclient.Client, who identity) (mspprovider.SigningIdentity, error) {
	member, err := users.CreateSigningIdentity(mspprovider.WithCert([]byte(who.certificate)), mspprovider.WithPrivateKey([]byte(who.key)))
	if err != nil {
		return nil, fmt.Errorf("unable to sign as %s: %w", who.name, err)
	}
	return member, nil
}

// unique keeps the names of two runs apart.
func unique() string {
	raw := make([]byte, 4)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}
