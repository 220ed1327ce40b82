// Command websocket speaks WebSocket over HTTP/1.1 (RFC 6455) with
// github.com/gorilla/websocket.
//
//	websocket -at ADDRESS -ca FILE [-compress] wss://HOST/PATH TEXT...
//	websocket -serve ADDRESS
//
// The client prints the status, what was agreed on, each text that comes back,
// the answer to a ping, and how it ended; the server, without TLS, sends back
// what it gets.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

func main() {
	log.SetFlags(0)
	at := flag.String("at", "", "where to connect")
	ca := flag.String("ca", "", "whom to trust")
	compress := flag.Bool("compress", false, "whether to offer compression")
	serve := flag.String("serve", "", "where to listen")
	flag.Parse()
	if *serve != "" {
		log.Fatal(server(*serve))
	}
	if err := client(*at, *ca, *compress, flag.Arg(0), flag.Args()[1:]); err != nil {
		log.Fatal(err)
	}
}

func client(at, ca string, compress bool, url string, texts []string) error {
	roots := x509.NewCertPool()
	bytes, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(bytes)
	dialer := websocket.Dialer{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		Subprotocols:      []string{"chat"},
		EnableCompression: compress,
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at)
		},
	}
	connection, response, err := dialer.Dial(url, nil)
	if err != nil {
		if response == nil {
			return err
		}
		fmt.Println("status", response.StatusCode)
		_, err := io.Copy(os.Stdout, response.Body)
		return err
	}
	defer connection.Close()
	fmt.Printf("status %d, %q, %q\n", response.StatusCode, connection.Subprotocol(),
		response.Header.Get("Sec-WebSocket-Extensions"))
	for _, text := range texts {
		if err := connection.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			return err
		}
		kind, echo, err := connection.ReadMessage()
		if err != nil {
			return err
		}
		fmt.Println(kind, string(echo))
	}
	connection.SetPongHandler(func(data string) error {
		fmt.Println("pong", data)
		return nil
	})
	deadline := time.Now().Add(10 * time.Second)
	if err := connection.WriteControl(websocket.PingMessage, []byte("ping"), deadline); err != nil {
		return err
	}
	farewell := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
	if err := connection.WriteControl(websocket.CloseMessage, farewell, deadline); err != nil {
		return err
	}
	_, _, err = connection.ReadMessage()
	fmt.Println(err)
	return nil
}

func server(address string) error {
	upgrader := websocket.Upgrader{Subprotocols: []string{"chat"}, EnableCompression: true}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer connection.Close()
		for {
			kind, message, err := connection.ReadMessage()
			if err != nil || connection.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
	return http.ListenAndServe(address, handler)
}
