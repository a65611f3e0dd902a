// What tests dial by TLS: an authority that issues whatever certificate is asked for, and a server
// that judges its clients' as it is told. Loopback and test namespaces only.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/address.h"
#include "base/fd.h"
#include "base/freed.h"
#include "bench/sockets.h"

namespace bench::testing {

using OwnedContext = std::unique_ptr<SSL_CTX, base::Freed<SSL_CTX_free>>;
using OwnedSession = std::unique_ptr<SSL, base::Freed<SSL_free>>;
using OwnedKey = std::unique_ptr<EVP_PKEY, base::Freed<EVP_PKEY_free>>;
using OwnedCertificate = std::unique_ptr<X509, base::Freed<X509_free>>;
using OwnedBuffer = std::unique_ptr<BIO, base::Freed<BIO_free>>;

struct Issued {
  std::string certificate;
  std::string key;
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name) : key_(EVP_EC_gen("P-256")) {
    certificate_ = make(key_.get(), name, "", -3600, 3600, true);
  }

  // Valid from and to: seconds from now.
  [[nodiscard]] Issued issue(const std::string& uri, long from = -3600, long to = 3600) const {
    return issue_named("URI:" + uri, from, to);
  }
  [[nodiscard]] Issued issue_to_host(const std::string& host) const {
    return issue_named("DNS:" + host, -3600, 3600);
  }
  [[nodiscard]] std::string text() const {
    return text_of([&](BIO* to) { return ::PEM_write_bio_X509(to, certificate_.get()); });
  }
  [[nodiscard]] X509* certificate() const { return certificate_.get(); }

 private:
  [[nodiscard]] Issued issue_named(const std::string& name, long from, long to) const {
    const OwnedKey key(EVP_EC_gen("P-256"));
    const auto certificate = make(key.get(), "a workload", name, from, to, false);
    return {text_of([&](BIO* to_bio) { return ::PEM_write_bio_X509(to_bio, certificate.get()); }),
            text_of([&](BIO* to_bio) {
              return ::PEM_write_bio_PrivateKey(to_bio, key.get(), nullptr, nullptr, 0, nullptr,
                                                nullptr);
            })};
  }

  static std::string text_of(const std::function<int(BIO*)>& write) {
    const OwnedBuffer buffer(::BIO_new(::BIO_s_mem()));
    EXPECT_EQ(write(buffer.get()), 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(buffer.get(), &data);
    return {data, static_cast<std::size_t>(size)};
  }

  OwnedCertificate make(EVP_PKEY* key, const std::string& name, const std::string& alternative,
                        long from, long to, bool authority) const {
    OwnedCertificate made(::X509_new());
    X509* const own = made.get();
    X509* const issuer = authority ? own : certificate_.get();
    ::X509_set_version(own, X509_VERSION_3);
    ::X509_set_pubkey(own, key);
    static std::atomic<long> serial{1};
    ::ASN1_INTEGER_set(::X509_get_serialNumber(own), serial++);
    ::X509_gmtime_adj(X509_getm_notBefore(own), from);
    ::X509_gmtime_adj(X509_getm_notAfter(own), to);
    ::X509_NAME_add_entry_by_txt(::X509_get_subject_name(own), "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.data()),
                                 static_cast<int>(name.size()), -1, 0);
    ::X509_set_issuer_name(own, ::X509_get_subject_name(issuer));
    extend(own, issuer, NID_basic_constraints,
           authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!alternative.empty()) extend(own, issuer, NID_subject_alt_name, alternative);
    EXPECT_NE(::X509_sign(own, key_.get(), ::EVP_sha256()), 0);
    return made;
  }

  static void extend(X509* certificate, X509* issuer, int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    ::X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, base::Freed<X509_EXTENSION_free>> extension(
        ::X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
    ASSERT_TRUE(extension) << value;
    ASSERT_EQ(::X509_add_ext(certificate, extension.get(), -1), 1);
  }

  OwnedKey key_;
  OwnedCertificate certificate_;
};

inline void use(SSL_CTX* context, const Issued& issued) {
  const OwnedBuffer certificate(::BIO_new_mem_buf(issued.certificate.data(), -1));
  const OwnedCertificate leaf(::PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr));
  const OwnedBuffer key_text(::BIO_new_mem_buf(issued.key.data(), -1));
  const OwnedKey key(::PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  ASSERT_EQ(::SSL_CTX_use_certificate(context, leaf.get()), 1);
  ASSERT_EQ(::SSL_CTX_use_PrivateKey(context, key.get()), 1);
}

// A server of a mesh: answers with HTTP 200 whoever shows a certificate that it takes, and resets
// the connection of everybody else once its alert is on the way.
class TlsServer {
 public:
  struct Options {
    Issued shown = {};
    X509* trusts = nullptr;         // an authority; none: no client certificate is asked for
    std::string trust_domain = {};  // "spiffe://cluster.local/": of whom it takes certificates
    bool trusts_anybody = false;    // the fault: asks for a certificate and takes each
    std::set<int> overlooks = {};   // faults: X509_V_ERR_* that it takes for sound
    bool in_clear = false;          // a fault: answers without TLS
    int least_version = TLS1_2_VERSION;
    bool stays_silent = false;  // never answers a request
  };

  explicit TlsServer(Options options)
      : options_(std::move(options)), context_(::SSL_CTX_new(::TLS_server_method())) {
    use(context_.get(), options_.shown);
    SSL_CTX_set_min_proto_version(context_.get(), options_.least_version);
    if (options_.least_version < TLS1_2_VERSION) {
      ::SSL_CTX_set_security_level(context_.get(), 0);
      ::SSL_CTX_set_cipher_list(context_.get(), "ALL:@SECLEVEL=0");
    }
    if (options_.trusts != nullptr) {
      ::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context_.get()), options_.trusts);
      ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           verify);
      SSL_CTX_set_app_data(context_.get(), &options_);
    }
    ::SSL_CTX_set_alpn_select_cb(
        context_.get(),
        [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
           unsigned offered, void*) {
          static constexpr std::string_view ours("\x08http/1.1");
          return ::SSL_select_next_proto(const_cast<unsigned char**>(out), size,
                                         reinterpret_cast<const unsigned char*>(ours.data()),
                                         static_cast<unsigned>(ours.size()), in,
                                         offered) == OPENSSL_NPN_NEGOTIATED
                     ? SSL_TLSEXT_ERR_OK
                     : SSL_TLSEXT_ERR_NOACK;
        },
        nullptr);
    listener_ = listen_tcp({base::IpAddress::parse("127.0.0.1").value(), 0}).value();
    endpoint_ = local_endpoint(listener_.get()).value();
    stop_.reset(::eventfd(0, EFD_CLOEXEC));
    thread_ = std::thread([this] { run(); });
  }
  ~TlsServer() {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  [[nodiscard]] const base::Endpoint& endpoint() const { return endpoint_; }
  // What it shows from the next connection on.
  void show(const Issued& issued) {
    const std::lock_guard lock(mutex_);
    use(context_.get(), issued);
  }
  // How many connections it is done with.
  [[nodiscard]] int served() const { return served_; }

 private:
  static constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  static constexpr std::string_view bad_request =
      "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

  static int verify(int sound, X509_STORE_CTX* store) {
    const auto* const ssl = static_cast<SSL*>(
        ::X509_STORE_CTX_get_ex_data(store, ::SSL_get_ex_data_X509_STORE_CTX_idx()));
    const auto& options =
        *static_cast<const Options*>(SSL_CTX_get_app_data(::SSL_get_SSL_CTX(ssl)));
    if (options.trusts_anybody) return 1;
    if (sound != 1 && options.overlooks.contains(::X509_STORE_CTX_get_error(store))) return 1;
    if (sound != 1 || ::X509_STORE_CTX_get_error_depth(store) != 0) return sound;
    const std::unique_ptr<GENERAL_NAMES, base::Freed<GENERAL_NAMES_free>> names(
        static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(::X509_STORE_CTX_get_current_cert(store),
                                                       NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
      const auto* const uri = sk_GENERAL_NAME_value(names.get(), i)->d.uniformResourceIdentifier;
      const std::string text(reinterpret_cast<const char*>(::ASN1_STRING_get0_data(uri)),
                             static_cast<std::size_t>(::ASN1_STRING_length(uri)));
      if (text.starts_with(options.trust_domain)) return 1;
    }
    ::X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
  }

  void run() {
    for (;;) {
      std::array<pollfd, 2> watched{{{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
      if (::poll(watched.data(), watched.size(), -1) < 0) continue;
      if (watched[1].revents != 0) return;
      const base::UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) continue;
      const std::lock_guard lock(mutex_);
      serve(client.get());
      ++served_;
    }
  }

  void serve(int fd) {
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    std::array<char, 4096> request;
    if (options_.in_clear) {
      const auto got = ::recv(fd, request.data(), request.size(), 0);
      const bool http = got > 0 && request[0] == 'G';
      const std::string_view reply = http ? ok : bad_request;
      ::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL);
      return;
    }
    const OwnedSession session(::SSL_new(context_.get()));
    ::SSL_set_fd(session.get(), fd);
    if (::SSL_accept(session.get()) == 1 &&
        ::SSL_read(session.get(), request.data(), static_cast<int>(request.size())) > 0) {
      if (options_.stays_silent) {
        // Until the client gives up.
        ::SSL_read(session.get(), request.data(), static_cast<int>(request.size()));
        return;
      }
      ::SSL_write(session.get(), ok.data(), static_cast<int>(ok.size()));
      ::SSL_shutdown(session.get());
      return;
    }
    ::ERR_clear_error();
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }

  Options options_;
  OwnedContext context_;
  base::UniqueFd listener_;
  base::Endpoint endpoint_;
  base::UniqueFd stop_;
  std::mutex mutex_;  // of the context, while somebody is served
  std::atomic<int> served_ = 0;
  std::thread thread_;
};

}  // namespace bench::testing
