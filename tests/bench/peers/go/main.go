// net/http + gopkg.in/mail.v2 (message building, SMTP dialer) + a pool of N persistent sessions.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"strings"

	mail "gopkg.in/mail.v2"
)

type attachment struct {
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Content     string `json:"content"`
}
type request struct {
	From        string       `json:"from"`
	To          []string     `json:"to"`
	Subject     string       `json:"subject"`
	Text        string       `json:"text"`
	HTML        string       `json:"html"`
	Attachments []attachment `json:"attachments"`
}

type session struct{ sc mail.SendCloser } // nil: not connected (yet)

func main() {
	n, _ := strconv.Atoi(os.Getenv("SMTP_SESSIONS"))
	port, _ := strconv.Atoi(os.Getenv("SMTP_PORT"))
	host := os.Getenv("SMTP_HOST")
	pem, err := os.ReadFile(os.Getenv("SMTP_CA"))
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	tc := &tls.Config{ServerName: host, RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
	pool := make(chan *session, n)
	for i := 0; i < n; i++ {
		pool <- &session{}
	}
	dial := func() (mail.SendCloser, error) {
		d := mail.NewDialer(host, port, os.Getenv("SMTP_USER"), os.Getenv("SMTP_PASS"))
		d.StartTLSPolicy, d.TLSConfig = mail.MandatoryStartTLS, tc
		return d.Dial()
	}
	send := func(m *mail.Message) error {
		s := <-pool
		defer func() { pool <- s }()
		for try := 0; ; try++ {
			fresh := s.sc == nil
			if fresh {
				sc, err := dial()
				if err != nil {
					return err
				}
				s.sc = sc
			}
			err := mail.Send(s.sc, m)
			if err == nil {
				return nil
			}
			s.sc.Close()
			s.sc = nil
			var te *textproto.Error
			if fresh || try > 0 || errors.As(err, &te) {
				return err
			}
		}
	}
	http.HandleFunc("/v1/emails", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" {
			http.Error(w, "POST only", 405)
			return
		}
		var q request
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 40<<20)).Decode(&q); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		m := mail.NewMessage()
		m.SetHeader("From", q.From)
		m.SetHeader("To", q.To...)
		m.SetHeader("Subject", q.Subject)
		if q.Text != "" {
			m.SetBody("text/plain", q.Text)
			if q.HTML != "" {
				m.AddAlternative("text/html", q.HTML)
			}
		} else {
			m.SetBody("text/html", q.HTML)
		}
		for _, a := range q.Attachments {
			b, err := base64.StdEncoding.DecodeString(a.Content)
			if err != nil {
				http.Error(w, "bad base64", 400)
				return
			}
			kind := a.ContentType + `; name="` + a.Filename + `"`
			m.AttachReader(a.Filename, bytes.NewReader(b), mail.SetHeader(map[string][]string{"Content-Type": {kind}}))
		}
		if err := send(m); err != nil {
			code := 503
			if strings.Contains(err.Error(), " 5") {
				code = 422
			}
			http.Error(w, err.Error(), code)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status":"sent"}`)
	})
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
