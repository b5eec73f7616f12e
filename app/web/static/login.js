// Whoever followed a link of another site came without the session's cookie: it may be there.

const wanted = document.querySelector('input[name="next"]').value;
const answer = await fetch(wanted);
if (answer.ok && !answer.redirected) location.replace(wanted);
