#include "bench/tls_probe/tls_probe.h"

#include <algorithm>
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
#include "bench/http_parser.h"
#include "bench/sockets.h"
#include "bench/tls/credentials.h"
#include "bench/tls_probe/http_reply.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::Freed;
using base::Result;

using tls::Certificate;
using tls::Context;
using tls::openssl_error;
using tls::Session;
using Buffer = std::unique_ptr<BIO, Freed<BIO_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

constexpr std::size_t read_bytes = 4096;

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

// Whom the peer's certificate is judged by, though nothing comes of it but a word in the outcome.
Result<> trust_roots(SSL_CTX* context, const Door& door) {
  const Buffer text(::BIO_new_mem_buf(door.roots.data(), static_cast<int>(door.roots.size())));
  int roots = 0;
  while (Certificate root{::PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)}) {
    if (::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context), root.get()) != 1) {
      return openssl_error(ErrorKind::input, fmt::format("door {}: its roots", door.name));
    }
    ++roots;
  }
  if (roots == 0 && !door.roots.empty()) {
    return openssl_error(ErrorKind::input, fmt::format("door {}: its roots", door.name));
  }
  ::ERR_clear_error();  // that there is no further one
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

class Attempt {
 public:
  Attempt(const Door& door, int stop_fd)
      : door_(door), stop_fd_(stop_fd), begun_(base::monotonic_now()) {
    tried_.name = door.name;
    tried_.at_ns = begun_.ns;
    tried_.last_ns = begun_.ns;
  }

  Result<DoorTried> run() { return told(go()); }

  // In parts, of a door in the clear: all of its request but the last byte; that, unless there is a
  // reply without it; and the reply.
  Result<> open() {
    auto opened = [&]() -> Result<> {
      ASSIGN_OR_RETURN(open_, connect());
      if (!open_) return {};
      ASSIGN_OR_RETURN(open_, say(std::string_view(door_.request).substr(0, last_byte())));
      return open_ ? Result<>() : end(DoorOutcome::timed_out);
    }();
    return in_context(std::move(opened));
  }
  Result<> release() { return in_context(open_ ? say_last_byte() : Result<>()); }
  Result<DoorTried> close() { return told(open_ ? hear_plainly() : Result<>()); }

 private:
  [[nodiscard]] base::MonotonicTime deadline() const { return begun_ + door_.timeout; }
  [[nodiscard]] std::size_t last_byte() const { return door_.request.size() - 1; }

  Result<> in_context(Result<> done) {
    if (done) return done;
    return base::in_context(std::move(done).error(), "door {}", door_.name);
  }
  Result<DoorTried> told(Result<> ended) {
    RETURN_IF_ERROR(in_context(std::move(ended)));
    tried_.took_ns = (base::monotonic_now() - begun_).count();
    return std::move(tried_);
  }

  Result<> say_last_byte() {
    pollfd watched{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&watched, 1, 0) < 0 && errno != EINTR) return base::system_error(errno, "poll");
    if (watched.revents != 0) return {};
    ASSIGN_OR_RETURN(open_, say(std::string_view(door_.request).substr(last_byte())));
    return open_ ? Result<>() : end(DoorOutcome::timed_out);
  }

  Result<> end(DoorOutcome outcome) {
    tried_.outcome = outcome;
    return {};
  }

  Result<> go() {
    ASSIGN_OR_RETURN(const bool connected, connect());
    if (!connected) return {};
    return door_.plaintext ? speak_plainly() : speak_tls();
  }

  // Whether there is a connection; where there is none that is the outcome.
  Result<bool> connect() {
    auto connected = connect_within(door_.to, door_.timeout, stop_fd_);
    if (!connected) {
      const int code = connected.error();
      if (code == EINTR) return base::fail(ErrorKind::interrupted, "stopped");
      const bool unreachable = code == EHOSTUNREACH || code == ENETUNREACH || code == EACCES;
      if (code != ECONNREFUSED && code != ETIMEDOUT && !unreachable) {
        return base::system_error(code, "connect {}", door_.to);
      }
      tried_.outcome = unreachable            ? DoorOutcome::unreachable
                       : code == ECONNREFUSED ? DoorOutcome::refused
                                              : DoorOutcome::timed_out;
      return false;
    }
    socket_ = std::move(*connected);
    const int flags = ::fcntl(socket_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
      return base::system_error(errno, "fcntl");
    }
    return true;
  }

  // Takes more of the reply; whether no more of it is waited for.
  bool has_whole_reply(std::string_view more) {
    reply_ += more;
    const auto http = http_reply(reply_);
    return !http || http->whole || reply_.size() >= read_bytes;
  }

  // What came of application reads.
  Result<> end_answered() {
    constexpr std::size_t told = 200;
    tried_.http_status = http_status_of(reply_);
    if (const auto http = http_reply(reply_)) {
      tried_.server = plain_text(field_of(http->head, "server"));
      tried_.challenge = plain_text(field_of(http->head, "www-authenticate"));
      tried_.body = plain_text(http->body.substr(0, told));
      const auto id = field_of(http->head, http_server_id_field);
      std::uint32_t number = 0;
      const auto read = std::from_chars(id.data(), id.data() + id.size(), number);
      if (!id.empty() && read.ptr == id.data() + id.size()) tried_.answered_by = number;
    }
    return end(DoorOutcome::answered);
  }
  // The end of reads, which is none of what was said before it.
  Result<> end_unless_answered(DoorOutcome outcome) {
    return reply_.empty() ? end(outcome) : end_answered();
  }

  // Says it, as far as the peer is there: how it is not the read tells. False when its time is
  // over.
  Result<bool> say(std::string_view rest) {
    while (!rest.empty()) {
      const auto n = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n > 0) {
        rest.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno == EAGAIN) {
        ASSIGN_OR_RETURN(const bool ready, await(socket_.get(), POLLOUT, deadline(), stop_fd_));
        if (!ready) return false;
      } else if (errno == ECONNRESET || errno == EPIPE) {
        return true;
      } else if (errno != EINTR) {
        return base::system_error(errno, "send");
      }
    }
    return true;
  }

  Result<> speak_plainly() {
    ASSIGN_OR_RETURN(const bool said, say(door_.request));
    return said ? hear_plainly() : end(DoorOutcome::timed_out);
  }

  Result<> hear_plainly() {
    std::array<char, read_bytes> reply;
    for (;;) {
      const auto n = ::recv(socket_.get(), reply.data(), reply.size(), 0);
      if (n > 0) {
        const std::string_view text(reply.data(), static_cast<std::size_t>(n));
        // A TLS server may say in a record what it thinks of that: level, description (RFC 8446,
        // 6).
        constexpr std::size_t alert_record = 7;
        if (reply_.empty() && text.size() >= alert_record && text[0] == '\x15' &&
            text[1] == '\x03') {
          note_alert(static_cast<unsigned char>(text[6]));
          return end(DoorOutcome::alert);
        }
        if (has_whole_reply(text)) return end_answered();
        continue;
      }
      if (n == 0) return end_unless_answered(DoorOutcome::closed);
      if (errno == ECONNRESET || errno == EPIPE) return end_unless_answered(DoorOutcome::reset);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return base::system_error(errno, "recv");
      ASSIGN_OR_RETURN(const bool ready, await(socket_.get(), POLLIN, deadline(), stop_fd_));
      if (!ready) return end_unless_answered(DoorOutcome::timed_out);
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

  // What is read of the peer: a handshake message or an alert says that it speaks TLS. The header
  // of the first record is shown before it is judged, whatever it is.
  static void on_message(int sent, int /*version*/, int kind, const void* bytes, std::size_t size,
                         SSL* /*ssl*/, void* arg) {
    auto* const attempt = static_cast<Attempt*>(arg);
    if (sent != 0) return;
    if (kind == SSL3_RT_HEADER && attempt->first_bytes_.empty()) {
      attempt->first_bytes_.assign(static_cast<const char*>(bytes), size);
    } else if (kind == SSL3_RT_HANDSHAKE || kind == SSL3_RT_ALERT) {
      attempt->peer_speaks_tls_ = true;
    }
  }

  // The peer said something, and it was no TLS. The library reads no further than such a header, so
  // that the rest of what may be a reply of HTTP is still to be had.
  void note_foreign_bytes() {
    ::ERR_clear_error();
    std::array<char, 64> more;
    const auto n = ::recv(socket_.get(), more.data(), more.size(), MSG_DONTWAIT);
    if (n > 0) first_bytes_.append(more.data(), static_cast<std::size_t>(n));
    tried_.http_status = http_status_of(first_bytes_);
  }

  enum class Step { done, reset, closed, alert, not_tls, timed_out };

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
          if (!first_bytes_.empty() && !peer_speaks_tls_) {
            note_foreign_bytes();
            return Step::not_tls;
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
    ::SSL_set_msg_callback(session_.get(), on_message);
    SSL_set_msg_callback_arg(session_.get(), this);
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
    if (!shown) return;
    tried_.peer = identity_of(shown.get());
    const long judged = ::SSL_get_verify_result(session_.get());
    if (!door_.roots.empty() && judged != X509_V_OK) {
      tried_.peer->distrusted = ::X509_verify_cert_error_string(judged);
    }
  }

  Result<> speak_tls() {
    // Whoever is there is read, not judged: nobody's certificate makes our side refuse.
    ASSIGN_OR_RETURN(const Context context, make_context(::TLS_client_method(), door_.version));
    ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
    RETURN_IF_ERROR(tls::show(context.get(), door_.certificate, door_.key, "door " + door_.name));
    RETURN_IF_ERROR(trust_roots(context.get(), door_));
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
      case Step::not_tls:
        return end(DoorOutcome::not_tls);
      case Step::timed_out:
        return end(DoorOutcome::timed_out);
    }
    note_agreement();
    // A write that fails tells less than the read after it, which may find an alert.
    RETURN_IF_ERROR(drive("write", [&] {
      return ::SSL_write(session_.get(), door_.request.data(),
                         static_cast<int>(door_.request.size()));
    }));
    for (;;) {
      std::array<char, read_bytes> reply;
      int size = 0;
      ASSIGN_OR_RETURN(const auto read, drive("read", [&] {
                         return size = ::SSL_read(session_.get(), reply.data(),
                                                  static_cast<int>(reply.size()));
                       }));
      switch (read) {
        case Step::done:
          if (has_whole_reply({reply.data(), static_cast<std::size_t>(size)})) {
            return end_answered();
          }
          continue;
        case Step::reset:
          return end_unless_answered(DoorOutcome::reset);
        case Step::closed:
          return end_unless_answered(DoorOutcome::closed);
        case Step::alert:
          return end_unless_answered(DoorOutcome::alert);
        case Step::not_tls:  // never after a handshake
        case Step::timed_out:
          return end_unless_answered(DoorOutcome::timed_out);
      }
    }
  }

  const Door& door_;
  int stop_fd_;
  base::MonotonicTime begun_;
  base::UniqueFd socket_;
  Session session_;
  std::string first_bytes_;
  std::string reply_;
  bool peer_speaks_tls_ = false;
  bool open_ = false;  // of open(): there is a connection, and most of the request was said
  DoorTried tried_;
};

// ---- again and again ---------------------------------------------------------------------------

bool came_to_the_same(const DoorTried& one, const DoorTried& other) {
  return one.outcome == other.outcome && one.alert == other.alert &&
         one.http_status == other.http_status && one.answered_by == other.answered_by &&
         one.body == other.body && one.handshake_done == other.handshake_done &&
         one.peer.has_value() == other.peer.has_value() &&
         (!one.peer || one.peer->serial == other.peer->serial);
}

// Of every door what came of it, from when to when.
class Changes {
 public:
  explicit Changes(std::size_t doors) : last_(doors) {}

  void add(std::size_t door, DoorTried tried) {
    auto& last = last_[door];
    if (last && came_to_the_same(result_.doors[*last], tried)) {
      result_.doors[*last].last_ns = tried.at_ns;
      ++result_.doors[*last].tries;
    } else if (result_.doors.size() == most_door_changes) {
      last.reset();
      ++result_.changes_lost;
    } else {
      last = result_.doors.size();
      result_.doors.push_back(std::move(tried));
    }
  }
  [[nodiscard]] TlsProbeResult take() { return std::move(result_); }

 private:
  TlsProbeResult result_;
  std::vector<std::optional<std::size_t>> last_;  // by door: its place among the changes
};

// Whether it was stopped before that time.
Result<bool> stopped_until(base::MonotonicTime time, int stop_fd) {
  const auto woken = await(-1, 0, time, stop_fd);
  if (woken) return false;
  if (woken.error().kind == ErrorKind::interrupted) return true;
  return std::unexpected(woken.error());
}

Result<TlsProbeResult> try_again_and_again(const TlsProbeJob& job, int stop_fd) {
  Changes changes(job.doors.size());
  for (;;) {
    const auto next = base::monotonic_now() + *job.every;
    for (std::size_t i = 0; i < job.doors.size(); ++i) {
      auto tried = Attempt(job.doors[i], stop_fd).run();
      // What was under way then came to nothing that can be told.
      if (!tried && tried.error().kind == ErrorKind::interrupted) return changes.take();
      if (!tried) return std::unexpected(std::move(tried).error());
      changes.add(i, *std::move(tried));
    }
    // Also where a round took longer than it may: the stop must be seen.
    const auto until = std::max(next, base::monotonic_now() + std::chrono::microseconds(100));
    ASSIGN_OR_RETURN(const bool stopped, stopped_until(until, stop_fd));
    if (stopped) return changes.take();
  }
}

Result<TlsProbeResult> try_at_once(const TlsProbeJob& job, int stop_fd) {
  std::vector<Attempt> attempts;
  attempts.reserve(job.doors.size());
  for (const auto& door : job.doors) {
    attempts.emplace_back(door, stop_fd);
    RETURN_IF_ERROR(attempts.back().open());
  }
  ASSIGN_OR_RETURN(const bool stopped, stopped_until(base::monotonic_now() + *job.hold, stop_fd));
  if (stopped) return base::fail(ErrorKind::interrupted, "stopped");
  for (auto& attempt : attempts) RETURN_IF_ERROR(attempt.release());
  TlsProbeResult result;
  for (auto& attempt : attempts) {
    ASSIGN_OR_RETURN(auto tried, attempt.close());
    result.doors.push_back(std::move(tried));
  }
  return result;
}

}  // namespace

Result<TlsProbeResult> run_tls_probe(const TlsProbeJob& job, int stop_fd) {
  // OpenSSL writes without MSG_NOSIGNAL, and a server that refuses resets before all is written.
  (void)::signal(SIGPIPE, SIG_IGN);
  std::set<TlsVersion> spoken;
  for (const auto& door : job.doors) {
    if (!door.version || door.plaintext || !spoken.insert(*door.version).second) continue;
    RETURN_IF_ERROR(check_speaks(*door.version));
  }
  if (job.every) return try_again_and_again(job, stop_fd);
  if (job.hold) return try_at_once(job, stop_fd);
  TlsProbeResult result;
  for (const auto& door : job.doors) {
    ASSIGN_OR_RETURN(auto tried, Attempt(door, stop_fd).run());
    result.doors.push_back(std::move(tried));
  }
  return result;
}

}  // namespace bench
