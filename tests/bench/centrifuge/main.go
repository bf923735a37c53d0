// Command centrifuge is a small server on Centrifugo's engine, with the library's defaults: what the fan-out of the
// gateway is measured beside.
//
// It prints the address that it listens on, and serves /connection/websocket. It publishes what it reads from standard
// input, until that ends: a line is a channel, a space and the data. With -topic it also publishes what comes to that topic
// of Kafka from then on, as Centrifugo's own consumer does: a record's key is the channel, its value the data.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/centrifugal/centrifuge"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	pooled := flag.Bool("pooled", false, "share write buffers between connections")
	brokers := flag.String("brokers", "", "where Kafka is")
	topic := flag.String("topic", "", "the topic to publish from")
	flag.Parse()
	if err := run(*pooled, *brokers, *topic); err != nil {
		log.Fatal(err)
	}
}

func run(pooled bool, brokers, topic string) error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "viewer"}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	config := centrifuge.WebsocketConfig{UseWriteBufferPool: pooled}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, config))
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(listener, nil) }()
	if topic != "" {
		fromEnd := kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd())
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic), fromEnd)
		if err != nil {
			return err
		}
		go func() { failed <- consume(node, client) }()
	}
	fmt.Println(listener.Addr())
	go func() { failed <- publish(node, os.Stdin) }()
	return <-failed
}

// publish publishes every line, until there are no more.
func publish(node *centrifuge.Node, from io.Reader) error {
	lines := bufio.NewReaderSize(from, 64*1024)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		channel, data, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		if _, err := node.Publish(string(channel), data); err != nil {
			return err
		}
	}
}

// consume publishes every record.
func consume(node *centrifuge.Node, client *kgo.Client) error {
	for {
		fetches := client.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			return err
		}
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			if _, err := node.Publish(string(record.Key), record.Value); err != nil {
				return err
			}
		}
	}
}
