import { Anchor, AppShell, Button, Container, Group, Image, Menu, NavLink, Text, Title } from '@mantine/core'
import { Link, Route, Switch, useLocation } from 'wouter'
import { call, useLoaded } from './api.ts'
import { AskPage } from './pages/ask.tsx'
import { LinkSlackPage } from './pages/link-slack.tsx'
import { RequestPage } from './pages/request.tsx'
import { RequestsPage } from './pages/requests.tsx'
import { SessionsPage } from './pages/sessions.tsx'
import { SignInPage } from './pages/sign-in.tsx'
import type { Me } from './types.ts'

const pages = [
  { path: '/', label: 'Ask for access' },
  { path: '/requests', label: 'Requests' },
  { path: '/sessions', label: 'Sessions' },
] as const

export function App() {
  const me = useLoaded<Me>('/api/me', 60_000)
  if (me.value === undefined && me.error === undefined) return null
  if (me.value === undefined) return <SignInPage error={me.error} />
  return <Signed me={me.value} />
}

function Signed({ me }: { me: Me }) {
  const [location] = useLocation()
  const signOut = () =>
    void call('POST', '/auth/logout', {}).finally(() =>
      location === '/' ? window.location.reload() : window.location.assign('/'),
    )
  return (
    <AppShell header={{ height: 56 }} padding="md">
      <AppShell.Header>
        <Container size="lg" h="100%">
          <Group h="100%" justify="space-between" wrap="nowrap">
            <Group gap="xs" wrap="nowrap">
              <Image src="/icon.svg" w={24} alt="" />
              <Title order={4} mr="md">
                Sallyport
              </Title>
              {pages.map(page => (
                <NavLink
                  key={page.path}
                  component={Link}
                  href={page.path}
                  label={page.label}
                  active={location === page.path}
                  w="auto"
                  noWrap
                />
              ))}
            </Group>
            <Menu position="bottom-end">
              <Menu.Target>
                <Button variant="subtle" size="compact-md">
                  {me.subject.name}
                </Button>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>{me.subject.groups.join(', ') || 'no groups'}</Menu.Label>
                <Menu.Item component={Link} href="/link">
                  Link Slack
                </Menu.Item>
                <Menu.Item onClick={signOut}>Sign out</Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Container>
      </AppShell.Header>
      <AppShell.Main>
        <Container size="lg">
          <Switch>
            <Route path="/" component={AskPage} />
            <Route path="/requests" component={RequestsPage} />
            <Route path="/requests/:id">{params => <RequestPage id={params.id} me={me} />}</Route>
            <Route path="/sessions" component={SessionsPage} />
            <Route path="/link" component={LinkSlackPage} />
            <Route>
              <Text mt="xl">
                There is no such page. <Anchor href="/">Back to the start</Anchor>
              </Text>
            </Route>
          </Switch>
        </Container>
      </AppShell.Main>
    </AppShell>
  )
}
