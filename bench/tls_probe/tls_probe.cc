#include "bench/tls_probe/tls_probe.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <memory>
#include <set>
#include <string_view>

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/freed.h"
#include "bench/sockets.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::Freed;
using base::Result;

using Context = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using Session = std::unique_ptr<SSL, Freed<SSL_free>>;
using Buffer = std::unique_ptr<BIO, Freed<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

constexpr std::size_t read_bytes = 4096;

std::unexpected<base::Error> openssl_error(ErrorKind kind, std::string_view what) {
  std::array<char, 256> text{"no reason given"};
  if (const auto code = ::ERR_get_error(); code != 0) {
    ::ERR_error_string_n(code, text.data(), text.size());
  }
  ::ERR_clear_error();
  return base::fail(kind, "{}: OpenSSL: {}", what, text.data());
}

int number_of(TlsVersion version) {
  switch (version) {
    case TlsVersion::tls_1_0:
      return TLS1_VERSION;
    case TlsVersion::tls_1_1:
      return TLS1_1_VERSION;
    case TlsVersion::tls_1_2:
      return TLS1_2_VERSION;
    case TlsVersion::tls_1_3:
      return TLS1_3_VERSION;
  }
  return TLS1_3_VERSION;
}

// Versions before 1.2 need signatures that the library's security levels above 0 do without.
Result<Context> make_context(const SSL_METHOD* method, std::optional<TlsVersion> version) {
  Context context(::SSL_CTX_new(method));
  if (!context) return openssl_error(ErrorKind::system, "a TLS context");
  const int least = version ? number_of(*version) : TLS1_2_VERSION;
  const int most = version ? number_of(*version) : TLS1_3_VERSION;
  if (SSL_CTX_set_min_proto_version(context.get(), least) != 1 ||
      SSL_CTX_set_max_proto_version(context.get(), most) != 1) {
    return openssl_error(ErrorKind::missing, "a version of TLS");
  }
  if (least < TLS1_2_VERSION) {
    ::SSL_CTX_set_security_level(context.get(), 0);
    if (::SSL_CTX_set_cipher_list(context.get(), "ALL:@SECLEVEL=0") != 1) {
      return openssl_error(ErrorKind::missing, "ciphers of old versions");
    }
  }
  return context;
}

// ---- the control: does our library speak this version at all? ----------------------------------

Result<> give_certificate_of_its_own(SSL_CTX* context) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(::X509_new());
  if (!key || !certificate || ::X509_set_pubkey(certificate.get(), key.get()) != 1 ||
      ::X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0) == nullptr ||
      ::X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600) == nullptr ||
      ::X509_sign(certificate.get(), key.get(), ::EVP_sha256()) == 0 ||
      ::SSL_CTX_use_certificate(context, certificate.get()) != 1 ||
      ::SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    return openssl_error(ErrorKind::system, "a certificate for the control");
  }
  return {};
}

// A handshake of that version with itself, in memory. Errors: missing, where none comes about.
Result<> check_speaks(TlsVersion version) {
  ASSIGN_OR_RETURN(const Context ours, make_context(::TLS_client_method(), version));
  ASSIGN_OR_RETURN(const Context theirs, make_context(::TLS_server_method(), version));
  RETURN_IF_ERROR(give_certificate_of_its_own(theirs.get()));
  const Session client(::SSL_new(ours.get()));
  const Session server(::SSL_new(theirs.get()));
  BIO* client_end = nullptr;
  BIO* server_end = nullptr;
  if (!client || !server || ::BIO_new_bio_pair(&client_end, 0, &server_end, 0) != 1) {
    return openssl_error(ErrorKind::system, "the control of a version");
  }
  ::SSL_set_bio(client.get(), client_end, client_end);
  ::SSL_set_bio(server.get(), server_end, server_end);
  ::SSL_set_connect_state(client.get());
  ::SSL_set_accept_state(server.get());
  constexpr int rounds = 16;
  for (int i = 0; i < rounds; ++i) {
    const int connected = ::SSL_do_handshake(client.get());
    const int accepted = ::SSL_do_handshake(server.get());
    if (connected == 1 && accepted == 1) return {};
  }
  return openssl_error(ErrorKind::missing,
                       fmt::format("this OpenSSL does not speak {} with itself, so nothing can be "
                                   "said of whom it tries",
                                   base::enum_name(version)));
}

// ---- certificates ------------------------------------------------------------------------------

Buffer buffer_of(const std::string& text) {
  return Buffer(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<> show_certificate(SSL_CTX* context, const Door& door) {
  if (door.certificate.empty()) return {};
  const auto text = buffer_of(door.certificate);
  const Certificate leaf(::PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
  if (!leaf || ::SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return openssl_error(ErrorKind::input, fmt::format("door {}: its certificate", door.name));
  }
  while (Certificate next{::PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)}) {
    if (SSL_CTX_add0_chain_cert(context, next.get()) != 1) {
      return openssl_error(ErrorKind::input, fmt::format("door {}: its chain", door.name));
    }
    std::ignore = next.release();  // the context's now
  }
  ::ERR_clear_error();  // that there is no further one
  const auto key_text = buffer_of(door.key);
  const Key key(::PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  if (!key || ::SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    return openssl_error(ErrorKind::input, fmt::format("door {}: its key", door.name));
  }
  return {};
}

std::string name_text(const X509_NAME* name) {
  const Buffer text(::BIO_new(::BIO_s_mem()));
  if (!text || ::X509_NAME_print_ex(text.get(), name, 0, XN_FLAG_RFC2253) < 0) return "";
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::int64_t seconds_of(const ASN1_TIME* time) {
  std::tm broken{};
  return ::ASN1_TIME_to_tm(time, &broken) == 1 ? static_cast<std::int64_t>(::timegm(&broken)) : 0;
}

PeerIdentity identity_of(X509* certificate) {
  PeerIdentity identity{.subject = name_text(::X509_get_subject_name(certificate)),
                        .issuer = name_text(::X509_get_issuer_name(certificate)),
                        .not_before_s = seconds_of(::X509_get0_notBefore(certificate)),
                        .not_after_s = seconds_of(::X509_get0_notAfter(certificate))};
  const std::unique_ptr<BIGNUM, Freed<BN_free>> serial(
      ::ASN1_INTEGER_to_BN(::X509_get0_serialNumber(certificate), nullptr));
  if (char* const digits = serial ? ::BN_bn2hex(serial.get()) : nullptr; digits != nullptr) {
    identity.serial = digits;
    OPENSSL_free(digits);
  }
  const std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>> names(static_cast<GENERAL_NAMES*>(
      ::X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const auto* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const auto* const uri = name->d.uniformResourceIdentifier;
    identity.uris.emplace_back(reinterpret_cast<const char*>(::ASN1_STRING_get0_data(uri)),
                               static_cast<std::size_t>(::ASN1_STRING_length(uri)));
  }
  return identity;
}

// ---- a door ------------------------------------------------------------------------------------

// Waits until a socket is ready; false when its time is over.
Result<bool> await(int fd, short events, base::MonotonicTime deadline, int stop_fd) {
  for (;;) {
    const auto left = deadline - base::monotonic_now();
    if (left <= base::Duration::zero()) return false;
    std::array<pollfd, 2> watched{{{.fd = fd, .events = events, .revents = 0},
                                   {.fd = stop_fd, .events = POLLIN, .revents = 0}}};
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    if (::poll(watched.data(), watched.size(), static_cast<int>(milliseconds)) < 0 &&
        errno != EINTR) {
      return base::system_error(errno, "poll");
    }
    if (watched[1].revents != 0) return base::fail(ErrorKind::interrupted, "stopped");
    if (watched[0].revents != 0) return true;
  }
}

// RFC 8446, 6: OpenSSL has no names for what came with TLS 1.3.
std::string alert_name(int description) {
  switch (description) {
    case SSL_AD_MISSING_EXTENSION:
      return "missing extension";
    case SSL_AD_CERTIFICATE_REQUIRED:
      return "certificate required";
    case SSL_AD_NO_APPLICATION_PROTOCOL:
      return "no application protocol";
    default:
      return ::SSL_alert_desc_string_long(description);
  }
}

// "HTTP/1.1 403 Forbidden".
std::optional<int> http_status_of(std::string_view reply) {
  constexpr std::string_view version = "HTTP/1.";
  constexpr std::size_t status_at = 9;
  if (!reply.starts_with(version) || reply.size() < status_at + 3) return std::nullopt;
  int status = 0;
  const auto* const from = reply.data() + status_at;
  const auto read = std::from_chars(from, from + 3, status);
  return read.ptr == from + 3 ? std::optional(status) : std::nullopt;
}

class Attempt {
 public:
  Attempt(const Door& door, int stop_fd)
      : door_(door), stop_fd_(stop_fd), begun_(base::monotonic_now()) {
    tried_.name = door.name;
  }

  Result<DoorTried> run() {
    auto ended = go();
    if (!ended) return base::in_context(std::move(ended).error(), "door {}", door_.name);
    tried_.took_ns = (base::monotonic_now() - begun_).count();
    return std::move(tried_);
  }

 private:
  [[nodiscard]] base::MonotonicTime deadline() const { return begun_ + door_.timeout; }

  Result<> end(DoorOutcome outcome) {
    tried_.outcome = outcome;
    return {};
  }

  Result<> go() {
    auto connected = connect_within(door_.to, door_.timeout, stop_fd_);
    if (!connected) {
      const int code = connected.error();
      if (code == EINTR) return base::fail(ErrorKind::interrupted, "stopped");
      if (code == ECONNREFUSED) return end(DoorOutcome::refused);
      if (code == ETIMEDOUT) return end(DoorOutcome::timed_out);
      if (code == EHOSTUNREACH || code == ENETUNREACH || code == EACCES) {
        return end(DoorOutcome::unreachable);
      }
      return base::system_error(code, "connect {}", door_.to);
    }
    socket_ = std::move(*connected);
    const int flags = ::fcntl(socket_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
      return base::system_error(errno, "fcntl");
    }
    return door_.plaintext ? speak_plainly() : speak_tls();
  }

  // What came of an application read.
  Result<> read_reply(std::string_view reply) {
    tried_.http_status = http_status_of(reply);
    return end(DoorOutcome::answered);
  }

  Result<> speak_plainly() {
    std::string_view rest = door_.request;
    while (!rest.empty()) {
      const auto n = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n > 0) {
        rest.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno == EAGAIN) {
        ASSIGN_OR_RETURN(const bool ready, await(socket_.get(), POLLOUT, deadline(), stop_fd_));
        if (!ready) return end(DoorOutcome::timed_out);
      } else if (errno == ECONNRESET || errno == EPIPE) {
        break;  // the read says which
      } else if (errno != EINTR) {
        return base::system_error(errno, "send");
      }
    }
    std::array<char, read_bytes> reply;
    for (;;) {
      const auto n = ::recv(socket_.get(), reply.data(), reply.size(), 0);
      if (n > 0) {
        const std::string_view text(reply.data(), static_cast<std::size_t>(n));
        // A TLS server may say in a record what it thinks of that: level, description (RFC 8446,
        // 6).
        constexpr std::size_t alert_record = 7;
        if (text.size() >= alert_record && text[0] == '\x15' && text[1] == '\x03') {
          note_alert(static_cast<unsigned char>(text[6]));
          return end(DoorOutcome::alert);
        }
        return read_reply(text);
      }
      if (n == 0) return end(DoorOutcome::closed);
      if (errno == ECONNRESET || errno == EPIPE) return end(DoorOutcome::reset);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return base::system_error(errno, "recv");
      ASSIGN_OR_RETURN(const bool ready, await(socket_.get(), POLLIN, deadline(), stop_fd_));
      if (!ready) return end(DoorOutcome::timed_out);
    }
  }

  void note_alert(int description) {
    tried_.alert = description;
    tried_.alert_name = alert_name(description);
  }

  static void on_info(const SSL* ssl, int where, int value) {
    if ((where & SSL_CB_READ_ALERT) != SSL_CB_READ_ALERT) return;
    auto* const attempt = static_cast<Attempt*>(SSL_get_app_data(ssl));
    const int description = value & 0xff;
    if (description != SSL_AD_CLOSE_NOTIFY) attempt->note_alert(description);
  }

  enum class Step { done, reset, closed, alert, timed_out };

  // Drives one of OpenSSL's calls to its end. Errors: system, where our own side refuses.
  template <typename Call>
  Result<Step> drive(std::string_view what, const Call& call) {
    for (;;) {
      ::ERR_clear_error();
      errno = 0;
      const int n = call();
      const int code = errno;
      if (n > 0) return Step::done;
      switch (::SSL_get_error(session_.get(), n)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE: {
          const auto events =
              static_cast<short>(SSL_want_write(session_.get()) != 0 ? POLLOUT : POLLIN);
          ASSIGN_OR_RETURN(const bool ready, await(socket_.get(), events, deadline(), stop_fd_));
          if (!ready) return Step::timed_out;
          continue;
        }
        case SSL_ERROR_ZERO_RETURN:
          return Step::closed;
        case SSL_ERROR_SYSCALL:
          if (code == ECONNRESET || code == EPIPE) return Step::reset;
          if (code == 0) return Step::closed;
          return base::system_error(code, "{}", what);
        default:
          if (tried_.alert) return Step::alert;
          if (ERR_GET_REASON(::ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            return Step::closed;
          }
          return openssl_error(ErrorKind::system, fmt::format("{}: refused by our own side", what));
      }
    }
  }

  Result<> set_up(const Context& context) {
    session_.reset(::SSL_new(context.get()));
    if (!session_ || ::SSL_set_fd(session_.get(), socket_.get()) != 1) {
      return openssl_error(ErrorKind::system, "a TLS session");
    }
    SSL_set_app_data(session_.get(), this);
    ::SSL_set_info_callback(session_.get(), on_info);
    if (!door_.server_name.empty() &&
        SSL_set_tlsext_host_name(session_.get(), door_.server_name.c_str()) != 1) {
      return openssl_error(ErrorKind::input, "the server's name");
    }
    std::string protocols;
    for (const auto& protocol : door_.alpn) {
      protocols += static_cast<char>(protocol.size());
      protocols += protocol;
    }
    // 0 is success here.
    if (!protocols.empty() &&
        ::SSL_set_alpn_protos(session_.get(),
                              reinterpret_cast<const unsigned char*>(protocols.data()),
                              static_cast<unsigned>(protocols.size())) != 0) {
      return openssl_error(ErrorKind::input, "its protocols");
    }
    return {};
  }

  void note_agreement() {
    tried_.handshake_done = true;
    tried_.version = ::SSL_get_version(session_.get());
    tried_.cipher = ::SSL_get_cipher_name(session_.get());
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    ::SSL_get0_alpn_selected(session_.get(), &chosen, &size);
    if (size > 0) tried_.alpn.assign(reinterpret_cast<const char*>(chosen), size);
  }

  void note_peer() {
    const Certificate shown(::SSL_get1_peer_certificate(session_.get()));
    if (shown) tried_.peer = identity_of(shown.get());
  }

  Result<> speak_tls() {
    // Whoever is there is read, not judged: nobody's certificate makes our side refuse.
    ASSIGN_OR_RETURN(const Context context, make_context(::TLS_client_method(), door_.version));
    ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
    RETURN_IF_ERROR(show_certificate(context.get(), door_));
    RETURN_IF_ERROR(set_up(context));
    ASSIGN_OR_RETURN(const auto shaken,
                     drive("handshake", [&] { return ::SSL_connect(session_.get()); }));
    note_peer();
    switch (shaken) {
      case Step::done:
        break;
      case Step::reset:
        return end(DoorOutcome::handshake_reset);
      case Step::closed:
        return end(DoorOutcome::handshake_closed);
      case Step::alert:
        return end(DoorOutcome::handshake_alert);
      case Step::timed_out:
        return end(DoorOutcome::timed_out);
    }
    note_agreement();
    // A write that fails tells less than the read after it, which may find an alert.
    RETURN_IF_ERROR(drive("write", [&] {
      return ::SSL_write(session_.get(), door_.request.data(),
                         static_cast<int>(door_.request.size()));
    }));
    std::array<char, read_bytes> reply;
    int size = 0;
    ASSIGN_OR_RETURN(const auto read, drive("read", [&] {
                       return size = ::SSL_read(session_.get(), reply.data(),
                                                static_cast<int>(reply.size()));
                     }));
    switch (read) {
      case Step::done:
        return read_reply({reply.data(), static_cast<std::size_t>(size)});
      case Step::reset:
        return end(DoorOutcome::reset);
      case Step::closed:
        return end(DoorOutcome::closed);
      case Step::alert:
        return end(DoorOutcome::alert);
      case Step::timed_out:
        break;
    }
    return end(DoorOutcome::timed_out);
  }

  const Door& door_;
  int stop_fd_;
  base::MonotonicTime begun_;
  base::UniqueFd socket_;
  Session session_;
  DoorTried tried_;
};

}  // namespace

Result<TlsProbeResult> run_tls_probe(const TlsProbeJob& job, int stop_fd) {
  // OpenSSL writes without MSG_NOSIGNAL, and a server that refuses resets before all is written.
  (void)::signal(SIGPIPE, SIG_IGN);
  std::set<TlsVersion> spoken;
  for (const auto& door : job.doors) {
    if (!door.version || door.plaintext || !spoken.insert(*door.version).second) continue;
    RETURN_IF_ERROR(check_speaks(*door.version));
  }
  TlsProbeResult result;
  for (const auto& door : job.doors) {
    ASSIGN_OR_RETURN(auto tried, Attempt(door, stop_fd).run());
    result.doors.push_back(std::move(tried));
  }
  return result;
}

}  // namespace bench
