// Command h2websocket speaks WebSocket over HTTP/2 (RFC 8441) with Go's HTTP/2,
// which takes GODEBUG=http2xconnect=1 for it.
//
//	h2websocket -at ADDRESS -ca FILE [-protocol NAME] https://HOST/PATH TEXT...
//	h2websocket -at ADDRESS http://HOST/PATH TEXT...
//	h2websocket -serve ADDRESS
//
// The client prints the status, each text that comes back, and how it ended;
// the server, without TLS, sends back what it gets.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"golang.org/x/net/http2"
)

const (
	text  = 0x81
	close = 0x88
)

func main() {
	log.SetFlags(0)
	at := flag.String("at", "", "where to connect")
	ca := flag.String("ca", "", "whom to trust")
	protocol := flag.String("protocol", "websocket", "what to ask for")
	serve := flag.String("serve", "", "where to listen")
	flag.Parse()
	if *serve != "" {
		log.Fatal(server(*serve))
	}
	if err := client(*at, *ca, *protocol, flag.Arg(0), flag.Args()[1:]); err != nil {
		log.Fatal(err)
	}
}

func client(at, ca, protocol, url string, texts []string) error {
	transport := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, _ string, config *tls.Config) (net.Conn, error) {
			if ca == "" {
				return (&net.Dialer{}).DialContext(ctx, network, at)
			}
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, at)
		},
	}
	if ca != "" {
		roots := x509.NewCertPool()
		bytes, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		roots.AppendCertsFromPEM(bytes)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	reader, writer := io.Pipe()
	request, err := http.NewRequest(http.MethodConnect, url, reader)
	if err != nil {
		return err
	}
	request.Header[":protocol"] = []string{protocol}
	request.Header.Set("Sec-WebSocket-Version", "13")
	request.Header.Set("Sec-WebSocket-Protocol", "chat")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	fmt.Println("status", response.StatusCode)
	if response.StatusCode != http.StatusOK {
		_, err := io.Copy(os.Stdout, response.Body)
		return err
	}
	if accept := response.Header.Get("Sec-WebSocket-Accept"); accept != "" {
		return fmt.Errorf("Sec-WebSocket-Accept: %s", accept)
	}
	for _, each := range texts {
		if err := send(writer, text, []byte(each), 0x80); err != nil {
			return err
		}
		kind, payload, err := receive(response.Body)
		if err != nil {
			return err
		}
		fmt.Printf("%#x %s\n", kind, payload)
	}
	if err := send(writer, close, []byte{3, 0xe8}, 0x80); err != nil {
		return err
	}
	kind, _, err := receive(response.Body)
	if err != nil {
		return err
	}
	writer.Close()
	rest, err := io.ReadAll(response.Body)
	fmt.Printf("%#x, then %d bytes, %v\n", kind, len(rest), err)
	return nil
}

func server(address string) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get(":protocol") != "websocket" {
			http.Error(w, "this is a WebSocket", http.StatusUpgradeRequired)
			return
		}
		w.WriteHeader(http.StatusOK)
		flusher := w.(http.Flusher)
		flusher.Flush()
		for {
			kind, payload, err := receive(r.Body)
			if err != nil || send(w, kind, payload, 0) != nil {
				return
			}
			flusher.Flush()
			if kind == close {
				return
			}
		}
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go new(http2.Server).ServeConn(connection, &http2.ServeConnOpts{Handler: handler})
	}
}

// A frame (RFC 6455, 5.2), with a mask of zeros where a client has to have one.
func send(w io.Writer, kind byte, payload []byte, masked byte) error {
	frame := []byte{kind}
	switch length := len(payload); {
	case length < 126:
		frame = append(frame, masked|byte(length))
	case length < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, masked|126), uint16(length))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, masked|127), uint64(length))
	}
	if masked != 0 {
		frame = append(frame, 0, 0, 0, 0)
	}
	_, err := w.Write(append(frame, payload...))
	return err
}

func receive(r io.Reader) (byte, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1] & 0x7f)
	switch length {
	case 126:
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return 0, nil, err
		}
		length = uint64(binary.BigEndian.Uint16(long[:]))
	case 127:
		var long [8]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return 0, nil, err
		}
		length = binary.BigEndian.Uint64(long[:])
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for at := range payload {
		payload[at] ^= mask[at%4]
	}
	return head[0], payload, nil
}
