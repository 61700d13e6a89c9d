package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A cluster of this kind is thrown away long before its certificates end.
const validFor = 10 * 365 * 24 * time.Hour

// writeKeys makes what the parts of one cluster show each other: `keys FOLDER NAME...`.
//
// In FOLDER, which must exist: ca.crt; server.crt and .key, for the API server and the kubelet,
// good for each NAME (an address or a host name); kubelet-client.crt and .key, by which the API
// server asks the kubelet; service-accounts.key, which signs the tokens of pods. The key of the
// authority itself is never written.
func writeKeys() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: keys FOLDER NAME...")
		os.Exit(2)
	}
	if err := makeKeys(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func makeKeys(folder string, names []string) error {
	authorityKey, err := newKey()
	if err != nil {
		return err
	}
	authority := template("stockpot-devcluster", 1)
	authority.IsCA = true
	authority.BasicConstraintsValid = true
	authority.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	signed, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(folder, "ca.crt"), "CERTIFICATE", signed); err != nil {
		return err
	}

	server := template("stockpot-devcluster-server", 2)
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			server.IPAddresses = append(server.IPAddresses, address)
		} else {
			server.DNSNames = append(server.DNSNames, name)
		}
	}
	client := template("kube-apiserver-kubelet-client", 3)
	client.Subject.Organization = []string{"system:masters"}
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for name, leaf := range map[string]*x509.Certificate{"server": server, "kubelet-client": client} {
		key, err := writeKey(filepath.Join(folder, name+".key"))
		if err != nil {
			return err
		}
		signed, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), authorityKey)
		if err != nil {
			return err
		}
		if err := writePEM(filepath.Join(folder, name+".crt"), "CERTIFICATE", signed); err != nil {
			return err
		}
	}
	_, err = writeKey(filepath.Join(folder, "service-accounts.key"))
	return err
}

func template(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		// Clocks of pods and of the machine are one clock, but it may be set back.
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(validFor),
		KeyUsage:  x509.KeyUsageDigitalSignature,
	}
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func writeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	// The older form: the API server reads service account keys in this one.
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(path, "EC PRIVATE KEY", encoded)
}

func writePEM(path, kind string, encoded []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: encoded})
	return os.WriteFile(path, text, 0o600)
}
