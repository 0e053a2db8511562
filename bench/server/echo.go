// echo.go -- the echo server in Go, with a goroutine for each connection.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
)

var open int64

func echo(conn net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			break
		}
		if _, err = conn.Write(buf[:n]); err != nil {
			break
		}
	}
	conn.Close()
	if atomic.AddInt64(&open, -1) == 0 {
		os.Exit(0)
	}
}

func main() {
	runtime.GOMAXPROCS(1) // the others use one processor, too
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		atomic.AddInt64(&open, 1)
		go echo(conn)
	}
}
