// Starts the browser's part of passkeys on the page that asks for it: data-start says which.
(() => {
  const start = document.currentScript.dataset.start;
  const forms = window.allauth.webauthn.forms;
  const ids = {
    login: { login: "passkey_login", credential: "mfa_credential" },
    authenticate: { authenticate: "mfa_webauthn_authenticate", credential: "id_credential", data: "js_data" },
    reauthenticate: { authenticate: "mfa_webauthn_reauthenticate", credential: "id_credential", data: "js_data" },
    add: { add: "mfa_webauthn_add", passwordless: "id_passwordless", credential: "id_credential", data: "js_data" },
  };
  const starters = {
    login: forms.loginForm,
    authenticate: forms.authenticateForm,
    reauthenticate: forms.authenticateForm,
    add: forms.addForm,
  };

  if (!window.PublicKeyCredential) return; // not a secure context, or an old browser: the buttons stay hidden
  document.querySelectorAll("[data-js]").forEach((part) => { part.hidden = false; });
  starters[start]({ ids: ids[start] });

  // The person said no, or the key is none of ours: say so in place of an error in the console.
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    let place = document.getElementById("passkey-error");
    if (!place) {
      place = document.createElement("p");
      place.id = "passkey-error";
      place.className = "field-error";
      place.setAttribute("role", "alert");
      document.querySelector("form").after(place);
    }
    const name = event.detail.exception.name;
    const words = {
      NotAllowedError: "It was cancelled, or it took too long. Try again.",
      InvalidStateError: "This key is registered already.",
      SecurityError: "Browsers allow passkeys only on https:// addresses and on localhost.",
    };
    place.textContent = words[name] || "That did not work. Try again, or use another method.";
  });
})();
