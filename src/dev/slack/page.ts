import { shown } from '../idp/page.ts'
import { inputsOf } from './interactions.ts'
import { type Block, type OpenView, type StoredMessage, users, type Workspace } from './workspace.ts'

/** The page of the stand-in: rendered here, refreshed by a few lines of script. Every text goes through `shown`. */
const style = `*{box-sizing:border-box}body{margin:0;font:15px/1.45 system-ui,sans-serif;color:#1d1c1d;display:grid;grid-template-columns:15rem minmax(0,1fr);height:100vh}
nav{background:#3f1f41;color:#e5d9e6;padding:1rem;overflow:auto}nav h1{font-size:1.05rem;margin:0 0 .2rem;color:#fff}nav p{font-size:.78rem;margin:.2rem 0 1rem;opacity:.8}
nav h2{font-size:.72rem;text-transform:uppercase;letter-spacing:.05em;opacity:.7;margin:1.2rem 0 .3rem}nav a{display:block;color:inherit;text-decoration:none;padding:.25rem .6rem;border-radius:.4rem}
nav a:hover{background:#ffffff18}nav a.on{background:#1164a3;color:#fff}nav small{opacity:.75;display:block;line-height:1.2}main{display:flex;flex-direction:column;min-width:0;height:100vh}
header{border-bottom:1px solid #ddd;padding:.8rem 1.2rem;font-weight:700}#pane{flex:1;overflow:auto;padding:1rem 1.2rem}form.say{display:flex;gap:.5rem;padding:.8rem 1.2rem;border-top:1px solid #ddd}
input,select,textarea{font:inherit;padding:.5rem .7rem;border:1px solid #999;border-radius:.45rem;width:100%;background:#fff;color:inherit}button{font:inherit;font-weight:600;padding:.4rem .9rem;border:1px solid #bbb;border-radius:.45rem;background:#fff;cursor:pointer}
button.primary{background:#007a5a;border-color:#007a5a;color:#fff}button.danger{background:#e01e5a;border-color:#e01e5a;color:#fff}article{max-width:44rem;margin:0 0 1.2rem;display:grid;grid-template-columns:2.4rem 1fr;gap:.2rem .8rem}
article .face{width:2.4rem;height:2.4rem;border-radius:.5rem;background:#4a154b;color:#fff;display:grid;place-items:center;font-weight:700}article .by{font-weight:700}article .by small{font-weight:400;color:#616061;margin-left:.5rem}
article.only{background:#faf7ea;border-radius:.6rem;padding:.6rem}article h3{font-size:1.05rem;margin:.3rem 0}.fields{display:grid;grid-template-columns:1fr 1fr;gap:.4rem 1.2rem;margin:.4rem 0}.t{white-space:pre-wrap;overflow-wrap:anywhere;margin:.35rem 0}
.fields .t::first-line{font-weight:600}.fields .t{min-width:0}.context{font-size:.82rem;color:#616061}.actions{display:flex;gap:.5rem;margin:.5rem 0}pre{background:#f6f6f6;border:1px solid #ddd;border-radius:.45rem;padding:.6rem;overflow:auto;margin:.4rem 0}
blockquote{margin:.3rem 0;padding:.1rem .8rem;border-left:.25rem solid #ddd;white-space:pre-wrap;overflow-wrap:anywhere}dialog{border:0;border-radius:.7rem;padding:0;width:min(34rem,92vw);max-height:88vh;box-shadow:0 1rem 3rem #0006;color:inherit}dialog::backdrop{background:#0007}dialog h2{margin:0;padding:1rem 1.3rem;border-bottom:1px solid #ddd;font-size:1.15rem}
dialog .in{padding:1rem 1.3rem;overflow:auto}dialog label{display:block;font-weight:600;margin:0 0 1rem}dialog label small{font-weight:400;color:#616061}dialog .foot{display:flex;justify-content:flex-end;gap:.6rem;padding:.9rem 1.3rem;border-top:1px solid #ddd}.bad{color:#c01343;font-weight:400;font-size:.86rem}
dialog label :is(input,select,textarea){font-weight:400;margin-top:.2rem}dialog label small{display:block}
@media(max-width:42rem){body{grid-template-columns:1fr;grid-template-rows:auto 1fr}main{height:auto;min-height:0}nav{padding:.6rem .8rem;max-height:none}nav p,nav h2,nav small{display:none}nav h1{font-size:.95rem;margin-bottom:.3rem}
nav a{display:inline-block;padding:.2rem .55rem;margin:0 .1rem .2rem 0;font-size:.9rem}article{grid-template-columns:1fr}article .face{display:none}.fields{grid-template-columns:1fr}}`

const script = `const q=new URLSearchParams(location.search);let last='';const pane=document.getElementById('pane'),dlg=document.getElementById('dlg');let lastView='';
const post=(path,body)=>fetch(path,{method:'POST',headers:{'content-type':'application/json'},body:JSON.stringify({user:q.get('user'),channel:q.get('channel'),...body})}).then(refresh);
async function refresh(){const r=await fetch('/dev/pane?'+q).catch(()=>null);if(!r||!r.ok)return;const {pane:p,view:v}=await r.json();
if(p!==last){last=p;pane.innerHTML=p;pane.scrollTop=pane.scrollHeight}if(v!==lastView){lastView=v;dlg.innerHTML=v;if(v){if(!dlg.open)dlg.showModal()}else dlg.close()}}
pane.addEventListener('click',e=>{const b=e.target.closest('button[data-action]');if(b){b.disabled=true;post('/dev/click',{ts:b.dataset.ts,action_id:b.dataset.action})}});
document.getElementById('say').addEventListener('submit',e=>{e.preventDefault();const i=e.target.elements.text;if(i.value.trim())post('/dev/command',{text:i.value});i.value=''});
dlg.addEventListener('submit',e=>{e.preventDefault();const values=Object.fromEntries(new FormData(e.target));post('/dev/submit',{view:e.target.dataset.view,values})});
dlg.addEventListener('click',e=>{if(e.target.closest('button[data-close]'))post('/dev/close',{})});dlg.addEventListener('cancel',()=>post('/dev/close',{}));
refresh();setInterval(refresh,1000)`

export function standInPage(workspace: Workspace, user: string, channel: string, nonce: string): string {
  const link = (to: { user?: string; channel?: string }) => `/?${new URLSearchParams({ user, channel, ...to })}`
  const people = users.map(
    person =>
      `<a class="${person.id === user ? 'on' : ''}" href="${shown(link({ user: person.id, channel: first(workspace, person.id, channel) }))}">${shown(person.real_name)}<small>${shown(person.title)}</small></a>`,
  )
  const places = visible(workspace, user).map(
    place =>
      `<a class="${place.id === channel ? 'on' : ''}" href="${shown(link({ channel: place.id }))}">${place.im ? '✉ ' : '# '}${shown(place.name)}</a>`,
  )
  const here = workspace.channels.get(channel)
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Slack stand-in</title><style nonce="${nonce}">${style}</style></head><body>
<nav><h1>Slack stand-in</h1><p>Not Slack: a part of the development system that speaks its wire format. Choose who you are.</p><h2>You are</h2>${people.join('')}<h2>Channels and messages</h2>${places.join('')}</nav>
<main><header>${here?.im ? '✉' : '#'} ${shown(here?.name ?? '')}</header><section id="pane"></section><form class="say" id="say"><input name="text" autocomplete="off" placeholder="/access, /access link CODE" aria-label="slash command"><button class="primary">Send</button></form></main>
<dialog id="dlg"></dialog><script nonce="${nonce}">${script}</script></body></html>`
}

/** What this person sees here: others' private notices are left out. */
export function paneHtml(workspace: Workspace, user: string, channel: string): string {
  const place = workspace.channels.get(channel)
  if (!place || (place.im !== null && place.im !== user)) return ''
  const messages = workspace.messages
    .filter(m => m.channel === channel && (m.ephemeral === null || m.ephemeral === user))
    .slice(-200)
  return (
    messages.map(messageHtml).join('') || '<p class="context">Nothing here yet. Type /access to ask for access.</p>'
  )
}

export function viewHtml(open: OpenView | undefined): string {
  if (!open) return ''
  const { view, errors } = open
  const inputs = new Map(inputsOf(view).map(input => [input.block_id, input]))
  const blocks = (view['blocks'] as Block[]).map(block => {
    const input = inputs.get(String(block['block_id']))
    if (!input) return blockHtml(block, '')
    const error = errors[input.block_id]
    const hint = block['hint'] ? `<small>${textOf(block['hint'])}</small>` : ''
    return `<label>${textOf(block['label'])}${input.optional ? ' <small>(optional)</small>' : ''}${field(input.block_id, input.element)}${hint}${error ? `<div class="bad">${shown(error)}</div>` : ''}</label>`
  })
  const submit = view['submit'] ? `<button class="primary">${textOf(view['submit'])}</button>` : ''
  return `<form data-view="${shown(open.id)}"><h2>${textOf(view['title'])}</h2><div class="in">${blocks.join('')}${errors[''] ? `<div class="bad">${shown(errors[''])}</div>` : ''}</div><div class="foot"><button type="button" data-close>${view['close'] ? textOf(view['close']) : 'Close'}</button>${submit}</div></form>`
}

function field(name: string, element: Block): string {
  if (element['type'] === 'static_select') {
    const initial = (element['initial_option'] as { value?: string } | undefined)?.value
    const options = (element['options'] as { text: unknown; value: string }[]).map(
      option =>
        `<option value="${shown(option.value)}"${option.value === initial ? ' selected' : ''}>${textOf(option.text)}</option>`,
    )
    return `<select name="${shown(name)}"><option value="">Select an option</option>${options.join('')}</select>`
  }
  const max = Number(element['max_length'] ?? 3000)
  return element['multiline']
    ? `<textarea name="${shown(name)}" rows="3" maxlength="${max}"></textarea>`
    : `<input name="${shown(name)}" maxlength="${max}">`
}

function messageHtml(message: StoredMessage): string {
  const time = new Date(Number(message.ts) * 1000).toISOString().slice(11, 16) + ' UTC'
  const notes = [time, ...(message.edited ? ['edited'] : []), ...(message.ephemeral ? ['only visible to you'] : [])]
  const body =
    message.blocks.length > 0
      ? message.blocks.map(block => blockHtml(block, message.ts)).join('')
      : `<div class="t">${shown(message.text)}</div>`
  return `<article class="${message.ephemeral ? 'only' : ''}" data-ts="${shown(message.ts)}"><div class="face">S</div><div><div class="by">Sallyport<small>${notes.join(' · ')}</small></div>${body}</div></article>`
}

function blockHtml(block: Block, ts: string): string {
  switch (block['type']) {
    case 'header':
      return `<h3>${textOf(block['text'])}</h3>`
    case 'section':
      if (block['fields'])
        return `<div class="fields">${(block['fields'] as unknown[]).map(f => `<div class="t">${textOf(f)}</div>`).join('')}</div>`
      return `<div class="t">${textOf(block['text'])}</div>`
    case 'context':
      return `<div class="t context">${(block['elements'] as unknown[]).map(textOf).join(' · ')}</div>`
    case 'rich_text':
      return (block['elements'] as RichElement[]).map(richHtml).join('')
    case 'actions':
      return `<div class="actions">${(block['elements'] as Block[]).map(b => `<button class="${b['style'] === 'primary' || b['style'] === 'danger' ? b['style'] : ''}" data-action="${shown(String(b['action_id']))}" data-ts="${shown(ts)}">${textOf(b['text'])}</button>`).join('')}</div>`
    default:
      return ''
  }
}

interface RichElement {
  readonly type: string
  readonly elements?: readonly { readonly text?: string }[]
}

function richHtml({ type, elements = [] }: RichElement): string {
  const tag = type === 'rich_text_quote' ? 'blockquote' : 'pre'
  return `<${tag}>${shown(elements.map(element => element.text ?? '').join(''))}</${tag}>`
}

const textOf = (text: unknown): string => shown((text as { text?: string } | undefined)?.text ?? '')

const visible = (workspace: Workspace, user: string) =>
  [...workspace.channels.values()].filter(place => place.im === null || place.im === user)

/** Where somebody lands: in the channel of before, but not in the direct messages of another. */
export function first(workspace: Workspace, user: string, channel: string): string {
  const places = visible(workspace, user)
  return (places.find(place => place.id === channel) ??
    places.find(place => place.name === 'db-approvals') ??
    places[0])!.id
}
